//! Prints the library's events.

use std::collections::HashMap;

use failover::events::{EventKind, EventReceiver};

use crate::clock::Clock;

/// Events of single calls come by the hundred, so each kind is printed at most once in this many
/// seconds.
const PAUSE: f64 = 1.0;

/// Prints events until there are no more.
pub(crate) async fn print(mut events: EventReceiver, clock: Clock) {
    let mut printed: HashMap<EventKind, f64> = HashMap::new();
    while let Some(event) = events.recv().await {
        // The breaker's close event, emitted at the same time, reports the same.
        if event.kind == EventKind::Recovery {
            continue;
        }
        if matches!(event.kind, EventKind::Failover | EventKind::Retry | EventKind::Timeout) {
            let now = clock.seconds();
            if printed.get(&event.kind).is_some_and(|last| now - last < PAUSE) {
                continue;
            }
            printed.insert(event.kind, now);
        }
        clock.say(event);
    }
}
