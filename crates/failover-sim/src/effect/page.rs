//! The page of the effect table.

use std::fmt::Write;

use failover_core::Error;

use crate::effect::table;
use crate::peer::Peer;
use crate::summary::Summary;

const POLICIES: &str = "\
# Effect

What callers see of a fault, under the engine and under what it is compared with. The first three policies of each table
are the engine of today with its defaults and an algorithm each (`default` is round robin). `random`, `round_robin` and
`least_busy` make one attempt and look at no health; `health_checks` takes part in a check each second; `request_budget` is
random with retries that a fifth of the requests pays for; `tower` is tower's own power of two choices with `PeakEwma`,
retries and budget; `probing` is a model after Prequal, with the retries of `request_budget`.";

const FIGURES: &str = "\
Attempts take at most 1 s and calls 3 s, with two retries. Each run has a state of its own. `met` is the number of seeds
that met the row's target; it is absent where there is none. The other figures are those of all seeds together: `back s`
is the time from the end of the fault, or from its beginning where it lasts, until 99 % of the calls of five seconds
succeed; `share %` the smallest and the largest share of the attempts of an endpoint. The last tables leave out the first
15 s; what their publishers do not say of the servers is assumed. A text under a name says where `health_based` is more than
5 % behind the best, or `default` behind `round_robin`, and why.

No policy of the comparison knows tiers, so that the rows with a standby are not here, or zones: in `zone_down_silent` they
use all zones, and the engine its own. Every row with its target and today's result is in [expected.txt](../crates/failover-sim/expected.txt).
";

/// The page docs/effect.md, with a line for each of these peers in each table; `command` is what prints it.
///
/// # Errors
///
/// As [`table`].
pub fn page(seeds: u64, peers: &[Peer], command: &str) -> Result<String, Error> {
    let mut page = POLICIES.to_owned();
    for peer in peers {
        let _ = write!(page, "\n`{}` is {}.", peer.name(), peer.about());
    }
    let _ = write!(page, "\n\n{FIGURES}\nMeasured by `{command}`.\n");
    for section in table(seeds, peers)? {
        let _ = writeln!(page, "\n## {}\n", section.name);
        if !section.note.is_empty() {
            let _ = writeln!(page, "{}\n", wrapped(section.note));
        }
        let _ = writeln!(page, "```text\n{:18} {:>6} {}", "policy", "met", Summary::header());
        for line in section.lines {
            let met = line.met.map_or_else(String::new, |met| format!("{met}/{seeds}"));
            let _ = writeln!(page, "{:18} {met:>6} {}", line.policy, line.summary.line());
        }
        page.push_str("```\n");
    }
    Ok(page)
}

/// Breaks a text into lines of at most 120 characters.
fn wrapped(text: &str) -> String {
    const WIDTH: usize = 120;
    let mut lines = String::new();
    let mut width = 0;
    for word in text.split(' ') {
        let start = width == 0;
        let breaks = width + 1 + word.len() > WIDTH;
        lines.push_str(if start {
            ""
        } else if breaks {
            "\n"
        } else {
            " "
        });
        width = if start || breaks { word.len() } else { width + 1 + word.len() };
        lines.push_str(word);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::wrapped;

    #[test]
    fn lines_are_broken_between_words() {
        let long = "word ".repeat(60);
        let lines = wrapped(long.trim());
        assert!(lines.lines().all(|line| (115..=120).contains(&line.len()) || line.len() == 59), "{lines}");
        assert_eq!(lines.replace('\n', " "), long.trim());
    }
}
