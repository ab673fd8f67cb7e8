//! The last failure of an endpoint, for explanations and events. Only failures write it, and never
//! wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;

use crate::contract::classify::reason::Reason;
use crate::model::attempt_class::AttemptClass;
use crate::runtime::clock::Time;

/// How the last attempt that failed ended, and when.
#[derive(Clone, Debug)]
pub(crate) struct Noted {
    pub(crate) class: AttemptClass,
    pub(crate) reason: Option<Reason>,
    pub(crate) at: Time,
}

#[derive(Debug, Default)]
pub(crate) struct LastFailure {
    /// The time in nanoseconds, and the class in the lowest bits; 0 for none.
    last: AtomicU64,
    /// The newest reason. It belongs to the last failure only if that is the one it was given for: a
    /// failure without a reason, which allocates nothing, leaves the reason of an earlier one here.
    given: ArcSwapOption<Given>,
}

#[derive(Debug)]
struct Given {
    to: u64,
    reason: Reason,
}

/// The bits of a class.
const CLASS: u32 = 3;
const _: () = assert!(AttemptClass::ALL.len() <= 1 << CLASS);

impl LastFailure {
    pub(crate) fn note(&self, noted: Noted) {
        let last = noted.at.as_nanos() << CLASS | noted.class as u64;
        if let Some(reason) = noted.reason {
            self.given.store(Some(Arc::new(Given { to: last, reason })));
        }
        self.last.store(last, Ordering::Release);
    }

    pub(crate) fn get(&self) -> Option<Noted> {
        let last = self.last.load(Ordering::Acquire);
        let class = *AttemptClass::ALL.get((last & ((1 << CLASS) - 1)) as usize)?;
        let given = self.given.load();
        let reason = given.as_ref().filter(|given| given.to == last).map(|given| given.reason.clone());
        (last > 0).then_some(Noted { class, reason, at: Time::from_nanos(last >> CLASS) })
    }

    pub(super) fn clear(&self) {
        self.last.store(0, Ordering::Relaxed);
        self.given.store(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::classify::Classified;

    fn noted(class: AttemptClass, reason: &str, at: u64) -> Noted {
        let (_, reason) = Classified::new(crate::Outcome::Failure, reason).into_parts();
        Noted { class, reason, at: Time::from_nanos(at) }
    }

    #[test]
    fn the_reason_is_that_of_the_last_failure_or_none() {
        let last = LastFailure::default();
        assert!(last.get().is_none());
        for (class, at) in AttemptClass::ALL.into_iter().zip(1..) {
            last.note(noted(class, "refused", at));
            let got = last.get().expect("noted");
            assert_eq!((got.class, got.at.as_nanos()), (class, at));
            assert_eq!(got.reason.as_deref(), Some("refused"));
            last.note(noted(class, "", at + 100));
            assert_eq!(last.get().expect("noted").reason, None, "{class}");
            last.note(noted(class, "reset", at + 200));
            assert_eq!(last.get().expect("noted").reason.as_deref(), Some("reset"));
        }
        last.clear();
        assert!(last.get().is_none());
    }

    #[test]
    fn two_failures_at_once_are_never_mixed() {
        let last = LastFailure::default();
        let pairs = [(AttemptClass::Failure, "500"), (AttemptClass::NotSent, "refused")];
        std::thread::scope(|scope| {
            for (thread, (class, reason)) in (0..).zip(pairs) {
                let last = &last;
                scope.spawn(move || {
                    for n in 1..20_000 {
                        last.note(noted(class, reason, n * 2 + thread));
                        let got = last.get().expect("noted");
                        let given =
                            pairs.iter().find(|(class, _)| *class == got.class).expect("one of both").1;
                        assert!(got.reason.is_none_or(|reason| &*reason == given));
                    }
                });
            }
        });
    }
}
