//! A budget of retries that requests pay for.

use crate::Nanos;
use crate::record::SECOND;

/// Finagle's budget: each request of the last 10 s pays for a fifth of a retry, and 10 a second are free.
#[derive(Debug, Default)]
pub(crate) struct RequestBudget {
    /// Requests and retries of each of the last ten seconds, by the second modulo 10.
    slots: [(u64, u64); 10],
    second: u64,
}

impl RequestBudget {
    pub(crate) fn deposit(&mut self, now: Nanos) {
        self.slot(now).0 += 1;
    }

    pub(crate) fn withdraw(&mut self, now: Nanos) -> bool {
        self.slot(now);
        let (requests, retries) =
            self.slots.iter().fold((0, 0), |sum, slot| (sum.0 + slot.0, sum.1 + slot.1));
        let allowed = retries < requests / 5 + 100;
        if allowed {
            self.slot(now).1 += 1;
        }
        allowed
    }

    fn slot(&mut self, now: Nanos) -> &mut (u64, u64) {
        let second = now / SECOND;
        let passed = (second - self.second).min(10);
        for step in 1..=passed {
            self.slots[((self.second + step) % 10) as usize] = (0, 0);
        }
        if passed == 10 {
            self.slots = Default::default();
        }
        self.second = second;
        &mut self.slots[(second % 10) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_pay_for_a_fifth_and_ten_a_second_are_free() {
        let mut budget = RequestBudget::default();
        for _ in 0..1000 {
            budget.deposit(0);
        }
        assert_eq!((0..1000).filter(|_| budget.withdraw(SECOND)).count(), 300);
        assert_eq!(
            (0..1000).filter(|_| budget.withdraw(20 * SECOND)).count(),
            100,
            "the requests are too old"
        );
    }
}
