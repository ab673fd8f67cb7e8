//! The loop of a call: pick, attempt, classify, retry.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tracing::{Instrument, Span};

use crate::client::call::attempt::{Attempt, AttemptRecord, Attempts, Completed};
use crate::client::call::error::{CallError, Kept, StopReason};
use crate::client::call::options::CallOptions;
use crate::client::call::spans;
use crate::client::call::timed::{self, NoReply, timed, wait};
use crate::codec::duration::rough;
use crate::config::defaults;
use crate::contract::classify::reason::Reason;
use crate::contract::classify::{Classified, Classify, Outcome};
use crate::engine::Engine;
use crate::engine::algorithm::{PickOptions, Tried};
use crate::engine::attempt_guard::AttemptGuard;
use crate::engine::policy::CallPolicy;
use crate::engine::retry_budget::Withdrawal;
use crate::events::{Event, EventKind};
use crate::model::attempt_class::AttemptClass;
use crate::model::endpoint::Endpoint;
use crate::runtime::clock::Time;

/// The longest time between two attempts to pick while a call waits for an endpoint. Changes are
/// signalled at once; this bounds the delay after a change that is not signalled.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Below this share of the call's time, in nanoseconds, an attempt gets all of it until the service's
/// latency is known.
const SHORT_SHARE: u64 = 1_000_000_000;
/// The maximum number of retries of a call, the same as in a configuration.
const MAX_RETRIES: u32 = *defaults::MAX_RETRIES_RANGE.end();

/// The attempts of a call that have failed.
#[derive(Default)]
struct Failed {
    records: Vec<AttemptRecord>,
    /// The state of each endpoint tried, and until when it has asked not to be called.
    tried: Vec<u32>,
    waits: Vec<Time>,
    /// The endpoints that the next attempt avoids.
    avoided: Vec<u32>,
}

/// The state of a running call. Allocates nothing on the heap until an attempt has failed, or waits where no timer is
/// left over.
pub(super) struct Run<'a> {
    engine: &'a Engine,
    policy: CallPolicy,
    options: &'a mut CallOptions,
    timeout: Duration,
    deadline: Time,
    attempt_timeout: Duration,
    /// The first attempt, which begins with the call.
    first: Option<(AttemptGuard<&'a Engine>, Arc<Endpoint>)>,
    paid: Option<Withdrawal<'a>>,
    /// Boxed, so that a call whose first attempt succeeds moves less.
    failed: Option<Box<Failed>>,
}

impl<'a> Run<'a> {
    pub(super) fn new(engine: &'a Engine, options: &'a mut CallOptions) -> Self {
        let mut timeout = Duration::ZERO;
        let (policy, begun) = engine.begin_call(options.pick, |policy, pick| {
            if let Some(own) = options.policy.as_deref() {
                *policy = *own;
            }
            policy.max_retries = options.max_retries.unwrap_or(policy.max_retries).min(MAX_RETRIES);
            timeout = options.deadline.unwrap_or(policy.timeout);
            // The deadline of an attempt that may take less than a second is exact also in a rush. That of
            // another one can be too early by a tick of the coarse clock, until it waits: 10 ms or less.
            let given =
                options.attempt_timeout.or(policy.attempt_timeout).is_some_and(|of| of.as_secs() == 0);
            pick.timed = given || timeout.as_secs() <= u64::from(policy.max_retries);
            (!timeout.is_zero()).then_some(!options.not_idempotent && policy.max_retries > 0)
        });
        Self {
            engine,
            policy,
            options,
            timeout,
            deadline: Time::NEVER,
            attempt_timeout: Duration::ZERO,
            first: begun.map(|(pick, endpoint)| (AttemptGuard::new(engine, pick), endpoint)),
            paid: None,
            failed: None,
        }
    }

    pub(super) async fn calls<F, Fut, T, E, C>(
        &mut self,
        operation: &mut F,
        classifier: &C,
    ) -> Result<Completed<T>, CallError<E, T>>
    where
        F: FnMut(Attempt) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        C: Classify<T, E>,
    {
        // Boxed, because it is empty until an attempt has failed.
        let mut kept: Option<Box<Kept<E, T>>> = None;
        if self.timeout.is_zero() {
            return Err(self.stop(StopReason::Deadline, kept));
        }
        loop {
            let (mut guard, endpoint) = match self.first.take().or_else(|| self.try_pick()) {
                Some(begun) => begun,
                None => match Box::pin(self.wait_for_pick()).await {
                    Ok(begun) => begun,
                    Err(reason) => return Err(self.stop(reason, kept)),
                },
            };
            // What ends with the block has no place in the future while the call waits for the next attempt.
            let class = {
                let own = Arc::clone(&endpoint);
                // Not borrowed: it would keep its place in the future while the attempt runs.
                let attempt = self.begin(&mut guard, own);
                let (mut until, state) = (attempt.until, guard.state());
                let span = spans::of_attempt(&endpoint, attempt.number);
                let (lasts, clock) = (until.since(guard.began()), self.engine.clock());
                let reply = match &span {
                    None => {
                        // Polled in place: each move of the future costs as much as a part of the pick.
                        let future = pin!(operation(attempt));
                        let waits = || {
                            let left;
                            (until, left) = self.wait(&mut guard, until, lasts);
                            (until, left)
                        };
                        timed::attempt(future, waits, lasts, clock).await
                    }
                    Some(span) => {
                        (until, _) = self.wait(&mut guard, until, lasts);
                        let waits = || (until, until.since(clock.now()));
                        let future = span.in_scope(|| operation(attempt)).instrument(Span::clone(span));
                        timed::attempt(Box::pin(future).as_mut(), waits, lasts, clock).await
                    }
                };
                let (class, pause, cause) = match &reply {
                    Ok(reply) => judge(classifier.classify(reply.as_ref())),
                    Err(NoReply::Late) => (AttemptClass::Timeout, None, None),
                    Err(NoReply::Stalled | NoReply::NoRuntime) => (AttemptClass::Local, None, None),
                };
                spans::attempt_ended(span.as_deref(), class, cause.as_ref());
                if class != AttemptClass::Success {
                    // Its duration is in the record of the call.
                    guard.time_alone();
                }
                let squeezed = class == AttemptClass::Timeout && reply.is_err() && self.is_squeezed(lasts);
                if let Some(pause) = pause {
                    self.engine.charge(state, pause);
                }
                if class.is_failure() && !squeezed {
                    self.engine.note_failure(state, class, cause.clone());
                }
                let duration = guard.end((!squeezed).then_some(class));
                if duration > lasts + timed::patience(lasts) {
                    self.engine.process_stalled(until);
                }
                let record = AttemptRecord { endpoint, class, reason: cause, duration };
                match (class, reply) {
                    (AttemptClass::Success | AttemptClass::Rejected, Ok(Ok(value))) => {
                        return Ok(self.done(value, record, class));
                    }
                    (AttemptClass::Success | AttemptClass::Rejected, Ok(Err(own))) => {
                        return Err(self.answered(own, kept, record, class));
                    }
                    (_, Err(NoReply::NoRuntime)) => {
                        self.engine.accounts().attempted(duration);
                        self.failed.get_or_insert_default().records.push(record);
                        return Err(self.stop(StopReason::NoRuntime, kept));
                    }
                    (_, Ok(reply)) => kept.get_or_insert_default().keep(reply),
                    (_, Err(NoReply::Late | NoReply::Stalled)) => {}
                }
                if !squeezed {
                    self.engine.accounts().attempted(duration);
                }
                self.record(record, state, pause);
                class
            };
            if let Err(reason) = Box::pin(self.next(class)).await {
                return Err(self.stop(reason, kept));
            }
        }
    }

    /// Starts an attempt.
    #[inline]
    fn begin(&mut self, guard: &mut AttemptGuard<&'a Engine>, endpoint: Arc<Endpoint>) -> Attempt {
        guard.emit_transition();
        let now = guard.began();
        if self.failed.is_none() {
            if self.deadline == Time::NEVER {
                self.deadline = now + self.timeout;
            }
            self.set_attempt_timeout(now);
        }
        if let Some(failed) = &self.failed {
            self.tell_retry(failed, guard.state(), &endpoint);
        }
        Attempt {
            endpoint,
            number: self.failures() + 1,
            until: (now + self.attempt_timeout).min(self.deadline),
            clock: self.engine.clock().clone(),
        }
    }

    /// Prepares for the wait of an attempt, and returns when it has to end, and how long that is from now.
    fn wait(
        &mut self,
        guard: &mut AttemptGuard<&'a Engine>,
        until: Time,
        lasts: Duration,
    ) -> (Time, Duration) {
        let later = guard.wait();
        if later.is_zero() {
            return (until, until.since(self.engine.clock().now()));
        }
        // It begins now, as the clock was read for it.
        self.deadline = self.deadline + later;
        (until + later, lasts)
    }

    /// Derives how long an attempt may take.
    ///
    /// A configured time is honoured up to the time that is left. Otherwise an attempt gets its share
    /// of the call's time, and more if the service's answers take longer than that.
    fn set_attempt_timeout(&mut self, now: Time) {
        let given = self.options.attempt_timeout.or(self.policy.attempt_timeout);
        let timeout = given.unwrap_or_else(|| self.derived_attempt(now));
        self.attempt_timeout = timeout.min(self.timeout);
    }

    fn derived_attempt(&self, now: Time) -> Duration {
        // In whole nanoseconds, which cost a tenth of the arithmetic of durations.
        let nanos = |time: Duration| {
            time.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(time.subsec_nanos()))
        };
        let share = nanos(self.timeout) / u64::from(self.policy.max_retries + 1);
        Duration::from_nanos(match self.engine.p99(now) {
            Some(p99) => share.max(nanos(p99).saturating_mul(3)),
            None if share < SHORT_SHARE => return self.timeout,
            None => share,
        })
    }

    /// Whether an attempt that timed out after this time had less time than an answer may need,
    /// because of the caller's own deadline: then it proves nothing about its endpoint.
    #[cold]
    fn is_squeezed(&self, lasted: Duration) -> bool {
        let p99 = self.engine.p99(self.engine.clock().now());
        let expected = match (p99, self.options.attempt_timeout) {
            (None, Some(given)) => given,
            _ => self.policy.usual_attempt(),
        };
        lasted < p99.map_or(expected, |p99| p99.min(expected))
    }

    #[inline]
    fn try_pick(&self) -> Option<(AttemptGuard<&'a Engine>, Arc<Endpoint>)> {
        let options = PickOptions { timed: true, ..self.options.pick };
        let pick = self.engine.pick_with(Tried::of(self.avoided()), self.may_probe(), options);
        pick.map(|pick| {
            let guard = AttemptGuard::new(self.engine, pick);
            let endpoint = guard.endpoint();
            (guard, endpoint)
        })
    }

    /// Waits until an endpoint can be picked, if the call is to wait.
    async fn wait_for_pick(&mut self) -> Result<(AttemptGuard<&'a Engine>, Arc<Endpoint>), StopReason> {
        let mut changes = None;
        loop {
            if let Some(begun) = self.try_pick() {
                return Ok(begun);
            }
            if !self.options.wait_ready {
                return Err(StopReason::NoEndpoints(self.engine.why_none()));
            }
            // Subscribe first and pick again, so that no change in between is missed.
            let Some(changes) = &mut changes else {
                changes = Some(self.engine.changes());
                if self.deadline == Time::NEVER {
                    self.deadline = self.engine.clock().now() + self.timeout;
                }
                continue;
            };
            // Time alone can make an endpoint available: an open breaker sends no signal when it
            // expires.
            let now = self.engine.clock().now();
            let look = match self.engine.next_probe() {
                due if due > now => due.min(now + LOOK_AGAIN),
                _ => now + LOOK_AGAIN,
            };
            let look = look.min(self.deadline);
            match timed(changes.changed(), look, self.engine.clock()).await {
                Ok(_) => {}
                Err(NoReply::Late) if self.engine.clock().now() < self.deadline => {}
                Err(NoReply::Late | NoReply::Stalled) => {
                    return Err(StopReason::NoEndpoints(self.engine.why_none()));
                }
                Err(NoReply::NoRuntime) => return Err(StopReason::NoRuntime),
            }
        }
    }

    /// The endpoints that the next attempt avoids.
    fn avoided(&self) -> &[u32] {
        self.failed.as_deref().map_or(&[], |failed| &failed.avoided)
    }

    /// The number of attempts that have failed.
    fn failures(&self) -> u32 {
        self.failed.as_deref().map_or(0, |failed| failed.records.len() as u32)
    }

    /// Returns whether another attempt can follow a failure of the next one.
    fn may_probe(&self) -> bool {
        !self.options.not_idempotent && self.failures() < self.policy.max_retries
    }

    fn record(&mut self, record: AttemptRecord, state: u32, pause: Option<Duration>) {
        if record.class == AttemptClass::Timeout {
            let cause = record.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
            let reason = format!("no answer after {}{cause}", rough(record.duration));
            let event = self.engine.about_number(state, Event::new(EventKind::Timeout, reason));
            self.engine.events().emit(event);
        }
        let wait = pause.map_or(Time::from_nanos(0), |pause| self.engine.clock().now() + pause);
        let failed = self.failed.get_or_insert_default();
        failed.tried.push(state);
        failed.waits.push(wait);
        failed.records.push(record);
    }

    /// Decides whether another attempt follows, and waits before it.
    async fn next(&mut self, class: AttemptClass) -> Result<(), StopReason> {
        if let Some(paid) = self.paid.take() {
            paid.spend();
        }
        let retries = self.failures();
        if self.options.retry_if.as_ref().is_some_and(|condition| !condition.holds()) {
            return Err(StopReason::NotRepeatable);
        }
        if self.options.not_idempotent && class != AttemptClass::NotSent {
            return Err(StopReason::NotIdempotent);
        }
        if retries > self.policy.max_retries {
            return Err(StopReason::MaxRetries { max_retries: self.policy.max_retries });
        }
        let ambiguous = matches!(class, AttemptClass::Timeout | AttemptClass::Overload);
        if ambiguous && !self.engine.gate_is_open() {
            return Err(StopReason::Gate);
        }
        self.options.pick.gated = ambiguous;
        let left = self.deadline.since(self.engine.clock().now());
        let delay = self.delay(retries);
        if left.is_zero() || delay >= left {
            return Err(StopReason::Deadline);
        }
        self.paid = Some(self.engine.accounts().pay_retry(self.policy.budget).ok_or(StopReason::Budget)?);
        if delay.is_zero() {
            // Yields, so that a call that retries often does not starve other tasks.
            tokio::task::yield_now().await;
        } else {
            wait(delay).await.map_err(|_| StopReason::NoRuntime)?;
        }
        Ok(())
    }

    /// The first retry goes to another endpoint at once; otherwise a retry backs off. If all endpoints
    /// have been tried, it waits until the first of them accepts calls again, and avoids the others.
    fn delay(&mut self, retries: u32) -> Duration {
        let failed = self.failed.get_or_insert_default();
        let elsewhere = self.engine.has_other_than(&failed.tried);
        failed.avoided.clone_from(&failed.tried);
        if retries == 1 && elsewhere {
            return Duration::ZERO;
        }
        let waits = if elsewhere { retries - 1 } else { retries };
        let delay = self.policy.backoff.delay(waits, self.engine.random().unit());
        if elsewhere {
            return delay;
        }
        let now = self.engine.clock().now();
        // An endpoint that was tried twice has the wait of its last answer.
        let wait_of = |state: u32| {
            let last = failed.tried.iter().rposition(|tried| *tried == state);
            last.map_or(Duration::ZERO, |last| failed.waits[last].since(now))
        };
        let shortest = failed.tried.iter().map(|state| wait_of(*state)).min().unwrap_or_default();
        let delay = delay.max(shortest);
        failed.avoided = failed.tried.iter().copied().filter(|state| wait_of(*state) > delay).collect();
        delay
    }

    fn tell_retry(&self, failed: &Failed, state: u32, endpoint: &Arc<Endpoint>) {
        let Some(last) = failed.records.last() else { return };
        let accounts = self.engine.accounts();
        if failed.records.len() == 1 {
            accounts.retry();
        }
        let (kind, where_to) = if failed.tried.last() == Some(&state) {
            (EventKind::Retry, "again".to_owned())
        } else {
            accounts.fail_over(self.engine.clock());
            (EventKind::Failover, format!("to {}", endpoint.id()))
        };
        let number = failed.records.len() + 1;
        let reason = format!("attempt {number} goes {where_to} after {last}");
        let event = self.engine.about_number(state, Event::new(kind, reason)).detail("attempt", number);
        self.engine.events().emit(match &last.reason {
            Some(cause) => event.detail("last_failure", &**cause),
            None => event,
        });
    }

    /// Accounts for a call that ends with an answer of this class.
    #[inline]
    fn answered_with(&self, last: &AttemptRecord, class: AttemptClass) {
        if class == AttemptClass::Success && self.failed.is_none() {
            self.engine.accounts().succeed_at_once(self.policy.budget);
        } else {
            self.engine.accounts().attempted(last.duration);
            self.took();
        }
    }

    /// Records the duration of a call that is not told by its only attempt.
    #[cold]
    #[inline(never)]
    fn took(&self) {
        // The deadline is set when the call begins to wait or to attempt.
        let took = if self.deadline == Time::NEVER {
            Duration::ZERO
        } else {
            (self.engine.clock().now() + self.timeout).since(self.deadline)
        };
        self.engine.accounts().took(took);
    }

    #[inline]
    fn done<T>(&mut self, value: T, record: AttemptRecord, class: AttemptClass) -> Completed<T> {
        self.answered_with(&record, class);
        // Dropping `paid` returns the tokens of a retry that succeeded.
        let endpoint = Arc::clone(&record.endpoint);
        Completed { value, endpoint, attempts: Attempts { failed: self.records(), last: record } }
    }

    /// Ends the call with the operation's error, which is the endpoint's answer.
    fn answered<E, T>(
        &mut self,
        own: E,
        kept: Option<Box<Kept<E, T>>>,
        record: AttemptRecord,
        class: AttemptClass,
    ) -> CallError<E, T> {
        self.answered_with(&record, class);
        let reason = if class == AttemptClass::Success { StopReason::Answered } else { StopReason::Rejected };
        self.failed.get_or_insert_default().records.push(record);
        let mut kept = kept.unwrap_or_default();
        kept.keep(Err(own));
        CallError::new(self.engine.name().clone(), self.records(), reason, *kept)
    }

    #[cold]
    fn stop<E, T>(&mut self, reason: StopReason, kept: Option<Box<Kept<E, T>>>) -> CallError<E, T> {
        match reason {
            StopReason::NoEndpoints(_) => self.engine.accounts().refuse(),
            _ => self.engine.accounts().fail(),
        }
        self.took();
        CallError::new(self.engine.name().clone(), self.records(), reason, *kept.unwrap_or_default())
    }

    #[inline]
    fn records(&mut self) -> Vec<AttemptRecord> {
        self.failed.take().map_or_else(Vec::new, |failed| failed.records)
    }
}

fn judge(classified: Classified) -> (AttemptClass, Option<Duration>, Option<Reason>) {
    let (outcome, reason) = classified.into_parts();
    let pause = match outcome {
        Outcome::Overload(pause) => pause,
        _ => None,
    };
    (AttemptClass::from(outcome), pause, reason)
}
