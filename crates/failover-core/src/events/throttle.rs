//! Limits the events that a registry can cause: repeated ones are sampled, with the number of
//! suppressed ones.

use std::collections::HashMap;
use std::time::Duration;

use crate::events::EventKind;
use crate::runtime::clock::Time;

/// The number of consecutive events of a kind that are emitted.
const BURST: u32 = 100;
/// After that, one event per this interval.
const PAUSE: Duration = Duration::from_secs(6);

/// The emitted and suppressed events of each kind, for one service.
#[derive(Debug, Default)]
pub(super) struct Flood(HashMap<EventKind, Bucket>);

#[derive(Debug)]
struct Bucket {
    /// The number of events that may still be emitted at `at`.
    left: u32,
    at: Time,
    /// The number of events suppressed since the last emitted one.
    suppressed: u64,
}

impl Flood {
    /// Returns whether to emit this event, and the number of suppressed ones before it.
    pub(super) fn admit(&mut self, kind: EventKind, now: Time) -> Option<u64> {
        if !is_caused_by_a_source(kind) {
            return Some(0);
        }
        let emitted = self.0.entry(kind).or_insert(Bucket { left: BURST, at: now, suppressed: 0 });
        let earned = (now.since(emitted.at).as_nanos() / PAUSE.as_nanos()).min(BURST.into()) as u32;
        emitted.left = (emitted.left + earned).min(BURST);
        emitted.at = if emitted.left == BURST { now } else { emitted.at + PAUSE * earned };
        if emitted.left == 0 {
            emitted.suppressed += 1;
            return None;
        }
        emitted.left -= 1;
        Some(std::mem::take(&mut emitted.suppressed))
    }
}

/// Returns whether a source can cause events of this kind at will.
fn is_caused_by_a_source(kind: EventKind) -> bool {
    matches!(
        kind,
        EventKind::EndpointAdded
            | EventKind::EndpointRemoved
            | EventKind::EndpointUp
            | EventKind::EndpointDown
            | EventKind::EntryRejected
            | EventKind::PlaceShared
            | EventKind::SourceStale
            | EventKind::SourceFresh
            | EventKind::EmptyHeld
            | EventKind::RemovalHeld
            | EventKind::LoadBalance
            | EventKind::ProviderPanicked
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::from_nanos(1) + Duration::from_secs(seconds)
    }

    fn admitted(flood: &mut Flood, kind: EventKind, times: usize, now: Time) -> usize {
        (0..times).filter(|_| flood.admit(kind, now).is_some()).count()
    }

    #[test]
    fn after_a_burst_ten_a_minute_are_emitted_and_the_others_are_counted() {
        let mut flood = Flood::default();
        assert_eq!(admitted(&mut flood, EventKind::SourceStale, 100_000, at(0)), 100);
        assert_eq!(flood.admit(EventKind::SourceStale, at(5)), None);
        assert_eq!(flood.admit(EventKind::SourceStale, at(6)), Some(99_901));
        let emitted: usize = (7..67).map(|s| admitted(&mut flood, EventKind::SourceStale, 50, at(s))).sum();
        assert_eq!(emitted, 10);
        assert_eq!(admitted(&mut flood, EventKind::SourceStale, 1_000, at(100_000)), 100, "all is forgotten");
    }

    #[test]
    fn kinds_do_not_share_and_what_calls_and_breakers_do_is_not_limited() {
        let mut flood = Flood::default();
        admitted(&mut flood, EventKind::EntryRejected, 1_000, at(0));
        assert_eq!(admitted(&mut flood, EventKind::SourceStale, 100, at(0)), 100);
        for kind in [EventKind::CircuitOpen, EventKind::Failover, EventKind::ConfigApplied] {
            assert_eq!(admitted(&mut flood, kind, 1_000, at(0)), 1_000);
        }
    }
}
