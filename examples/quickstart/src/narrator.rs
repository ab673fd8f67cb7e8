//! Prints what the library does, from its events.

use std::collections::HashMap;

use failover::events::{EventKind, EventReceiver};

use crate::clock::Clock;

/// Events of single calls come by the hundred; one of a kind in this many seconds is enough to see them.
const PAUSE: f64 = 1.0;

/// Prints the events for as long as there are any.
pub(crate) async fn tell(mut events: EventReceiver, clock: Clock) {
    let mut told: HashMap<EventKind, f64> = HashMap::new();
    while let Some(event) = events.recv().await {
        // The event of the closing breaker, emitted at the same time, says the same.
        if event.kind == EventKind::Recovery {
            continue;
        }
        if matches!(event.kind, EventKind::Failover | EventKind::Retry | EventKind::Timeout) {
            let now = clock.seconds();
            if told.get(&event.kind).is_some_and(|last| now - last < PAUSE) {
                continue;
            }
            told.insert(event.kind, now);
        }
        clock.say(event);
    }
}
