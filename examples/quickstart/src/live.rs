//! The progress line at the bottom of a terminal.

use std::collections::HashMap;
use std::fmt::Write;
use std::io::{IsTerminal, Write as _, stdout};
use std::time::Duration;

use failover::inspect::{BreakerState, ServiceStats};

use crate::clock::Clock;

/// Interval between updates, in seconds.
const PAUSE: f64 = 0.2;

/// Clears the live line, if there is one, before other output.
pub(crate) fn clear() {
    if stdout().is_terminal() {
        print!("\r\x1b[2K");
    }
}

/// The progress line.
pub(crate) struct Live {
    clock: Clock,
    next: f64,
    attempts: HashMap<String, u64>,
}

impl Live {
    /// Returns `None` if the output is not a terminal; plain lines are printed instead.
    pub(crate) fn new(clock: Clock) -> Option<Self> {
        stdout().is_terminal().then(|| Self { clock, next: 0.0, attempts: HashMap::new() })
    }

    pub(crate) fn show(&mut self, stats: impl FnOnce() -> ServiceStats) {
        let now = self.clock.seconds();
        if now < self.next {
            return;
        }
        self.next = now + PAUSE;
        let text = line(now, &stats(), &mut self.attempts);
        let shown: String = text.chars().take(columns().saturating_sub(1)).collect();
        print!("\r\x1b[2K{shown}");
        let _ = stdout().flush();
    }
}

/// Formats calls, in-flight calls and latency, and for each endpoint its share of the attempts
/// since the last update and its breaker if not closed.
fn line(seconds: f64, stats: &ServiceStats, before: &mut HashMap<String, u64>) -> String {
    let mut text = format!("{seconds:6.2} s  {} calls, {} in flight", stats.total_requests, stats.in_flight);
    if let Some(latency) = &stats.latency {
        let _ = write!(text, ", p50 {}, p99 {}", millis(latency.p50), millis(latency.p99));
    }
    let new: Vec<u64> = stats
        .endpoints
        .iter()
        .map(|of| of.attempts - before.insert(of.id.to_string(), of.attempts).unwrap_or(0).min(of.attempts))
        .collect();
    let all: u64 = new.iter().sum();
    for (endpoint, new) in stats.endpoints.iter().zip(new) {
        let share = (new * 100).checked_div(all).unwrap_or(0);
        let _ = write!(text, " | {} {share} %", endpoint.id);
        if endpoint.breaker != BreakerState::Closed {
            let _ = write!(text, " {}", endpoint.breaker.as_str());
        }
    }
    text
}

fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

/// Returns the width of the terminal: a longer line would wrap and could not be cleared.
#[cfg(unix)]
fn columns() -> usize {
    let size = rustix::termios::tcgetwinsize(stdout());
    size.map_or(80, |size| if size.ws_col == 0 { 80 } else { size.ws_col.into() })
}

#[cfg(not(unix))]
fn columns() -> usize {
    80
}

#[cfg(test)]
mod tests {
    use failover::{Outcome, ServiceHandle};

    use super::*;

    #[test]
    fn the_line_holds_calls_in_flight_times_and_each_endpoints_share_and_state() {
        let service = ServiceHandle::builder("users").endpoints(["10.0.0.1:80", "10.0.0.2:80"]);
        let service = service.build().expect("valid");
        let mut before = HashMap::new();
        for _ in 0..10 {
            let pick = service.select().expect("available");
            let dead = pick.endpoint().id() == "10.0.0.2:80";
            pick.finish(if dead { Outcome::Failure } else { Outcome::Success });
        }
        let _held = service.select().expect("available");
        let text = line(1.5, &service.stats(), &mut before);
        assert!(text.starts_with("  1.50 s  10 calls, 1 in flight, p50 "), "{text}");
        assert!(text.contains(" ms, p99 "), "{text}");
        assert!(text.contains("| 10.0.0.1:80 54 %"), "{text}");
        assert!(text.ends_with("| 10.0.0.2:80 45 % open"), "{text}");
        let text = line(1.7, &service.stats(), &mut before);
        assert!(text.contains("| 10.0.0.1:80 0 % |"), "a share since the last look: {text}");
    }
}
