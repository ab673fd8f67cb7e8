//! Applies an operator's decision about an endpoint.

use std::time::Duration;

use crate::codec::duration::rough;
use crate::engine::Engine;
use crate::engine::breaker::Input;
use crate::error::{Error, ErrorKind};
use crate::events::{Event, EventKind};
use crate::model::forced::Forced;
use crate::runtime::clock::Time;

/// The longest time for which a decision lasts.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

impl Engine {
    /// Applies a decision for this time; a time of zero ends an earlier one.
    pub(crate) fn force(&self, id: &str, forced: Forced, time: Duration) -> Result<(), Error> {
        if time > LONGEST {
            return Err(Error::invalid("duration", rough(time), "at most 24 h"));
        }
        let now = self.clock.now();
        let until = now + time;
        let mut found = false;
        self.change(|control, snapshot, events| {
            let Some(index) = snapshot.find(id) else { return };
            found = true;
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
            events.push(Event::new(kind, reason).endpoint(slot.endpoint.id()));
        });
        if found {
            return Ok(());
        }
        let message = format!("service {} has no endpoint {id}", self.name);
        Err(Error::new(ErrorKind::NotFound, message).with_code(crate::error::codes::NOT_FOUND))
    }
}
