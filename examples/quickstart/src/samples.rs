//! The run as comma-separated lines, for `cargo xtask picture`.

use std::collections::BTreeMap;
use std::fmt::Write;

/// Samples per second.
const PER_SECOND: f64 = 10.0;

/// The calls that each server answered in each tenth of a second.
#[derive(Default)]
pub(crate) struct Samples {
    served: BTreeMap<(u32, String), u64>,
}

/// A disturbance of a server.
pub(crate) struct Mark {
    pub(crate) seconds: f64,
    /// `kill`, `return`, `freeze` or `thaw`.
    pub(crate) kind: &'static str,
    pub(crate) server: String,
}

impl Samples {
    pub(crate) fn add(&mut self, seconds: f64, server: &str) {
        let slot = (seconds * PER_SECOND) as u32;
        *self.served.entry((slot, server.to_owned())).or_default() += 1;
    }

    /// Returns lines of `seconds,kind,name,value`: the calls served in the interval that starts
    /// then, the disturbances, and the summary.
    pub(crate) fn csv(&self, marks: &[Mark], summary: &str) -> String {
        let mut text = String::from("seconds,kind,name,value\n");
        for ((slot, server), calls) in &self.served {
            let _ = writeln!(text, "{:.1},served,{server},{calls}", f64::from(*slot) / PER_SECOND);
        }
        for Mark { seconds, kind, server } in marks {
            let _ = writeln!(text, "{seconds:.2},{kind},{server},");
        }
        for (name, value) in summary.split(' ').filter_map(|pair| pair.split_once('=')) {
            let _ = writeln!(text, ",summary,{name},{value}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_hold_calls_disturbances_and_summary() {
        let mut samples = Samples::default();
        for seconds in [0.01, 0.09, 0.11] {
            samples.add(seconds, "server-1");
        }
        let marks = [Mark { seconds: 2.0, kind: "kill", server: "server-2".to_owned() }];
        assert_eq!(
            samples.csv(&marks, "calls=3 failed=0"),
            "seconds,kind,name,value\n\
             0.0,served,server-1,2\n\
             0.1,served,server-1,1\n\
             2.00,kill,server-2,\n\
             ,summary,calls,3\n\
             ,summary,failed,0\n"
        );
    }
}
