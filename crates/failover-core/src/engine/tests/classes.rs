//! Operations on a bench whose attempts end with a class of the test's choice.

use super::*;

impl Bench {
    /// Creates a bench with this many endpoints: `a`, `b`, `c` and so on.
    pub(super) fn of(config: FailoverConfig, count: u8) -> Self {
        let bench = Self::new(config);
        bench.publish((0..count).map(|n| entry(&char::from(b'a' + n).to_string(), 0)));
        bench
    }

    /// Makes one call. Its attempt ends with the class that `ends` gives for the endpoint's id.
    pub(super) fn end(&self, may_probe: bool, ends: impl Fn(&str) -> AttemptClass) -> String {
        let pick = self.engine.pick(Tried::NONE, may_probe).expect("available");
        let id = self.id(&pick);
        self.engine.report(pick, ends(&id));
        id
    }

    /// Makes calls that are in flight together and end in the order of their endpoints' ids.
    pub(super) fn together(&self, count: usize, mut ends: impl FnMut(&str) -> AttemptClass) {
        let picks = (0..count).map(|_| self.engine.pick(Tried::NONE, true).expect("available"));
        let mut picks: Vec<_> = picks.map(|pick| (self.id(&pick), pick)).collect();
        picks.sort_by(|a, b| a.0.cmp(&b.0));
        for (id, pick) in picks {
            self.engine.report(pick, ends(&id));
        }
    }

    /// Returns the ids of the endpoints whose breaker is not closed.
    pub(super) fn out(&self) -> Vec<String> {
        let snapshot = self.engine.snapshot();
        let closed = |state: u32| self.engine.slab.state(state).breaker().admit_if_closed().is_some();
        let out = snapshot.slots.iter().filter(|slot| !closed(slot.state));
        out.map(|slot| slot.endpoint.id().to_string()).collect()
    }

    /// Returns the level of an endpoint's breaker.
    pub(super) fn level(&self, id: &str) -> u8 {
        let snapshot = self.engine.snapshot();
        let state = snapshot.slot(snapshot.find(id).expect("there")).state;
        self.engine.slab.state(state).breaker().read().level
    }
}

/// Gives `class` for the named endpoints, and success for the others.
pub(super) fn only<'a>(ids: &'a [&str], class: AttemptClass) -> impl Fn(&str) -> AttemptClass + 'a {
    move |id| if ids.contains(&id) { class } else { AttemptClass::Success }
}

/// Gives a timeout for every endpoint.
pub(super) fn timeout(_: &str) -> AttemptClass {
    AttemptClass::Timeout
}

/// Gives a failure for every endpoint.
pub(super) fn failure(_: &str) -> AttemptClass {
    AttemptClass::Failure
}

/// Gives a success for every endpoint.
pub(super) fn success(_: &str) -> AttemptClass {
    AttemptClass::Success
}
