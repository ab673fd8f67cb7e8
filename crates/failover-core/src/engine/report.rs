//! What a call that has ended tells the engine.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::engine::breaker::atomic::Change;
use crate::engine::breaker::{Effect, Event, Ticket};
use crate::engine::state::ewma::{LONGEST_PENALTY, PENALTY};
use crate::engine::state::{Cell, Verdict};
use crate::engine::{Choice, Engine, Moved};
use crate::model::breaker_state::BreakerState;
use crate::runtime::clock::Time;

/// Before an endpoint is probed again, after a probe call that has shown nothing.
const PAUSE: Duration = Duration::from_millis(50);

impl Engine {
    /// Ends a choice: counts it, tells the breaker, and says how many nanoseconds it took.
    #[inline]
    pub(crate) fn report(&self, mut choice: Choice, verdict: Verdict) -> u64 {
        self.tell_moved(&mut choice);
        let (number, ticket, began) = (choice.cell(), choice.ticket(), choice.began());
        let cell = self.slab.cell(number);
        let now = self.clock.now();
        let took = now.nanos_since(began);
        // The breaker first: once the call has ended, the cell may be another endpoint's.
        if verdict != Verdict::Success || ticket.permit || !cell.gate().is_quiet() {
            self.tell_breaker(number, ticket, verdict, now);
        }
        match verdict {
            Verdict::Success | Verdict::Rejected => cell.average().observe(took, now),
            _ => observe_failure(cell, verdict, took, now),
        }
        cell.end(verdict, took);
        took
    }

    /// An endpoint has asked to be left alone for so long: that counts as the time of its attempt.
    pub(crate) fn charge(&self, cell: u32, pause: Duration) {
        self.slab.cell(cell).average().raise_to(pause.min(LONGEST_PENALTY), self.clock.now());
    }

    /// The call was dropped: neither success nor failure.
    #[cold]
    pub(crate) fn cancel(&self, choice: Choice) {
        self.report(choice, Verdict::Cancelled);
    }

    /// Tells what a choice did to the breaker. Where the call may take long, that is as soon as it is chosen.
    #[inline]
    pub(crate) fn tell_moved(&self, choice: &mut Choice) {
        match choice.take_moved() {
            Moved::No => {}
            moved => self.half_opened(self.slab.cell(choice.cell()), moved == Moved::HalfOpenEarly),
        }
    }

    #[cold]
    fn tell_breaker(&self, number: u32, ticket: Ticket, verdict: Verdict, now: Time) {
        let event = match verdict {
            Verdict::Success => Event::Success(ticket),
            Verdict::Failure | Verdict::Timeout | Verdict::NotSent => Event::Failure(ticket),
            // Too busy is no fault, but an endpoint that is still too busy is not back, either.
            Verdict::Overload if ticket.permit => Event::Failure(ticket),
            // No blame, and an answer even so: that is what a probe call is to find out.
            Verdict::Rejected if ticket.permit => Event::Success(ticket),
            _ if ticket.permit => Event::Release(ticket),
            _ => return,
        };
        let cell = self.slab.cell(number);
        let unit = self.random.unit();
        let (effect, change) = cell.gate().apply(event, now, &self.breaker_rules(), unit);
        if let Some(change) = change {
            return self.moved(number, cell, change);
        }
        if effect == Effect::Ignored && cell.cold.expired.swap(false, Ordering::Relaxed) {
            self.half_open_expired(cell);
        }
        if ticket.permit {
            // The permit is free. If the call has shown nothing, not for the very next one: a caller whose calls all
            // end like that must not send every one of them here.
            match verdict {
                Verdict::Success | Verdict::Rejected => self.probe_from(now),
                _ => self.probe_after(now, PAUSE),
            }
        }
    }

    fn moved(&self, number: u32, cell: &Cell, change: Change) {
        let to = change.to.state();
        if to == BreakerState::Closed {
            cell.cold.recovered.fetch_add(1, Ordering::Relaxed);
        } else if to == BreakerState::Open {
            cell.cold.opened.fetch_add(1, Ordering::Relaxed);
        }
        self.breaker_changed(number, change);
    }
}

/// What an attempt without a good answer says of the time that one takes.
#[cold]
fn observe_failure(cell: &Cell, verdict: Verdict, took: u64, now: Time) {
    let took = Duration::from_nanos(took);
    match verdict {
        // It would have taken longer than that.
        Verdict::Cancelled => cell.average().raise_to(took, now),
        Verdict::Local => {}
        _ => cell.average().raise_to(took.max(PENALTY), now),
    }
}
