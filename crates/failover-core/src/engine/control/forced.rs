//! Applies an operator's decision about an endpoint.

use std::time::Duration;

use crate::codec::duration::rough;
use crate::engine::Engine;
use crate::engine::breaker::Input;
use crate::engine::ejections::EjectionReason;
use crate::error::Error;
use crate::events::{Event, EventKind};
use crate::model::forced::Forced;
use crate::runtime::clock::Time;

/// The longest time for which a decision lasts.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

impl Engine {
    /// Applies a decision for this time; a time of zero ends an earlier one.
    ///
    /// # Errors
    ///
    /// `NotFound` if the service has no such endpoint; `Validation` if it has several, or if the time
    /// is too long.
    pub(crate) fn force(&self, id: &str, forced: Forced, time: Duration) -> Result<(), Error> {
        if time > LONGEST {
            return Err(Error::invalid("duration", rough(time), "at most 24 h"));
        }
        let now = self.clock.now();
        let until = now + time;
        let mut resolved = Ok(());
        self.change(|control, snapshot, events| {
            let index = match snapshot.resolve(id) {
                Ok(index) => index,
                Err(unresolved) => {
                    resolved = Err(unresolved.error(self.name.as_str(), id));
                    return;
                }
            };
            let slot = snapshot.slot(index);
            let placement = self.slab.state(slot.state).placement();
            if time.is_zero() {
                placement.end_forced(&control.lock);
            } else {
                placement.set_forced(forced == Forced::Out, until, &control.lock);
            }
            if forced == Forced::In && !time.is_zero() {
                placement.set_paused_until(Time::from_nanos(0), &control.lock);
                if let Some(change) = self.apply(slot.state, Input::Close, now) {
                    self.slab.state(slot.state).count_recovered();
                    self.moved(control, snapshot, slot.state, change, events);
                }
            }
            if forced == Forced::Out && !time.is_zero() {
                self.strain.ejected(EjectionReason::Forced);
            }
            self.reconcile(control, snapshot, index);
            self.probe_from(until);
            let (kind, reason) = match forced {
                _ if time.is_zero() => (EventKind::EndpointReadmitted, "no longer forced".to_owned()),
                Forced::Out => (EventKind::EndpointEjected, format!("forced out for {}", rough(time))),
                Forced::In => (EventKind::EndpointReadmitted, format!("forced in for {}", rough(time))),
                Forced::Observe => {
                    (EventKind::EndpointReadmitted, format!("only observed for {}", rough(time)))
                }
            };
            events.push(snapshot.about(slot, Event::new(kind, reason)));
        });
        resolved
    }
}
