//! The difference between an answer and the previous one. Registries repeat themselves, and most
//! changes are small.

use std::sync::Arc;

use crate::contract::address_policy::AddressPolicy;
use crate::discovery::validate::fault;
use crate::model::endpoint::{EndpointEntry, EndpointId, ServiceName};

/// The range of an answer that differs from the previous one: everything before and after the range
/// is equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    at: usize,
    /// The length of the range in the previous answer (`before`) and in the new one (`now`).
    pub(crate) before: usize,
    now: usize,
}

/// The largest change that is processed as a change; a larger one is processed as a whole answer.
const FEW: usize = 16;

impl Change {
    /// Compares an answer with the previous one, in the source's order. Equal entries are replaced
    /// by those of the previous answer, because a registry that is read again returns equal
    /// endpoints in newly allocated memory.
    pub(crate) fn between(last: &[EndpointEntry], now: &mut [EndpointEntry]) -> Self {
        let keep = |(last, now): &mut (&EndpointEntry, &mut EndpointEntry)| {
            let same = last == now;
            // An endpoint that is shared needs no copy, which would touch its reference count.
            if same && !Arc::ptr_eq(last.endpoint(), now.endpoint()) {
                last.clone_into(now);
            }
            same
        };
        let at = last.iter().zip(now.iter_mut()).map_while(|mut pair| keep(&mut pair).then_some(())).count();
        let (last, now) = (&last[at..], &mut now[at..]);
        let pairs = last.iter().rev().zip(now.iter_mut().rev());
        let after = pairs.map_while(|mut pair| keep(&mut pair).then_some(())).count();
        Self { at, before: last.len() - after, now: now.len() - after }
    }

    /// Applies the change to the previous answer.
    pub(crate) fn made(self, mut last: Vec<EndpointEntry>, now: &[EndpointEntry]) -> Vec<EndpointEntry> {
        let changed = now[self.at..self.at + self.now].iter().cloned();
        last.splice(self.at..self.at + self.before, changed);
        last
    }

    /// Returns the removed ids and the added entries of a small change. A modified entry is in
    /// both.
    pub(crate) fn parts(
        self,
        last: &[EndpointEntry],
        now: &[EndpointEntry],
    ) -> Option<(Vec<EndpointId>, Vec<EndpointEntry>)> {
        let gone = last[self.at..self.at + self.before].iter().map(|entry| entry.endpoint().id().clone());
        let come = now[self.at..self.at + self.now].iter().cloned();
        (self.before <= FEW && self.now <= FEW).then(|| (gone.collect(), come.collect()))
    }

    pub(crate) fn is_none(self) -> bool {
        self.before == 0 && self.now == 0
    }

    /// Whether all entries of `now` are valid, given that those of the previous answer were.
    /// Inspects only the changed entries, and returns false for a large change.
    pub(crate) fn is_good(
        self,
        now: &[EndpointEntry],
        service: &ServiceName,
        addresses: AddressPolicy,
    ) -> bool {
        let changed = self.at..self.at + self.now;
        let is_new = |(index, entry): (usize, &EndpointEntry)| {
            let endpoint = entry.endpoint();
            let twin = |(other, that): (usize, &EndpointEntry)| {
                other != index && that.endpoint().id() == endpoint.id()
            };
            fault(endpoint, service, addresses).is_none() && !now.iter().enumerate().any(twin)
        };
        self.now <= FEW && now.iter().enumerate().skip(changed.start).take(self.now).all(is_new)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::contract::provider::EndpointSet;
    use crate::discovery::validate::validate;
    use crate::model::endpoint::Endpoint;

    fn entry(id: u8) -> EndpointEntry {
        let address = format!("10.0.0.{}", id / 2);
        EndpointEntry::new(Endpoint::builder(format!("e{id}"), "users", address, 80).build().expect("valid"))
    }

    fn entries(ids: &[u8]) -> Vec<EndpointEntry> {
        ids.iter().map(|id| entry(*id)).collect()
    }

    #[test]
    fn what_is_equal_is_taken_from_the_last_answer() {
        let last = entries(&[2, 4, 6, 8]);
        let mut now = entries(&[2, 10, 12, 8]);
        let change = Change::between(&last, &mut now);
        assert_eq!(change, Change { at: 1, before: 2, now: 2 });
        let kept: Vec<_> =
            last.iter().zip(&now).map(|(a, b)| Arc::ptr_eq(a.endpoint(), b.endpoint())).collect();
        assert_eq!(kept, [true, false, false, true]);
        let mut same = entries(&[2, 4, 6, 8]);
        assert!(Change::between(&last, &mut same).is_none());
        let mut more = entries(&[2, 4, 4, 6, 8]);
        assert_eq!(Change::between(&last, &mut more), Change { at: 2, before: 0, now: 1 });
        assert_eq!(Change::between(&last, &mut []), Change { at: 0, before: 4, now: 0 });
    }

    proptest! {
        #[test]
        fn a_change_is_good_exactly_when_the_whole_answer_is(
            last in prop::collection::hash_set(0_u8..10, 0..6),
            now in prop::collection::vec(0_u8..20, 0..8),
        ) {
            let service = ServiceName::new("users").expect("valid");
            let last = entries(&last.into_iter().collect::<Vec<_>>());
            let mut now = entries(&now);
            let change = Change::between(&last, &mut now);
            let good = change.is_good(&now, &service, AddressPolicy::IN_PROCESS);
            let whole = validate(&service, EndpointSet::new(now), AddressPolicy::IN_PROCESS);
            prop_assert_eq!(good, whole.rejected.count() == 0);
            if good {
                prop_assert_eq!(change.made(last, &whole.entries), whole.entries);
            }
        }
    }
}
