//! What a call that has ended tells the engine.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::choose::Note;
use super::{Choice, Engine};
use crate::breaker::{Event, Ticket};
use crate::clock::Time;
use crate::slot::{Slot, Verdict};

impl Engine {
    /// Ends a choice: counts it, tells the breaker, and says how long it took.
    #[inline]
    pub(crate) fn report(&self, choice: Choice, verdict: Verdict) -> Duration {
        let Choice {
            slot,
            ticket,
            began,
            note,
        } = choice;
        if let Some(note) = note {
            self.tell(note);
        }
        let now = self.clock.now();
        let took = now.since(began);
        slot.state.end(verdict, took);
        match verdict {
            Verdict::Success => {
                if let Some(change) = slot.state.gate.success(ticket, now, || self.policy().breaker) {
                    self.tell(Note { slot, change });
                } else if ticket.permit {
                    self.probe_from(now);
                }
            }
            _ => self.report_other(slot, ticket, verdict, now),
        }
        took
    }

    #[cold]
    fn report_other(&self, slot: Arc<Slot>, ticket: Ticket, verdict: Verdict, now: Time) {
        let event = match verdict {
            Verdict::Failure | Verdict::Timeout | Verdict::NotSent => Event::Failure(ticket),
            // Too busy is no fault, but an endpoint that is still too busy is not back, either.
            Verdict::Overload if ticket.permit => Event::Failure(ticket),
            _ if ticket.permit => Event::Release(ticket),
            _ => return,
        };
        let (_, change) = slot
            .state
            .gate
            .apply(event, now, &self.policy().breaker, self.random.unit());
        if let Some(change) = change {
            self.tell(Note { slot, change });
        } else if ticket.permit {
            // The permit is free for the next call.
            self.probe_from(now);
        }
    }

    /// The call was dropped: neither success nor failure.
    #[cold]
    pub(crate) fn cancel(&self, choice: Choice) {
        self.report(choice, Verdict::Cancelled);
    }

    /// Tells of what a choice moved, as soon as it is made: used where the choice may stay in flight for long.
    #[inline]
    pub(crate) fn tell_note(&self, choice: &mut Choice) {
        if let Some(note) = choice.note.take() {
            self.tell(note);
        }
    }

    #[cold]
    fn tell(&self, note: Note) {
        if note.change.to.state() == crate::breaker::BreakerState::Closed {
            note.slot.state.recovered.fetch_add(1, Ordering::Relaxed);
        } else if note.change.from.state() == crate::breaker::BreakerState::Closed {
            note.slot.state.opened.fetch_add(1, Ordering::Relaxed);
        }
        self.breaker_changed(&note.slot, note.change);
    }
}
