//! Validates a source's answer, entry by entry.
//!
//! A registry's data is untrusted input: an invalid entry is skipped, counted and reported, and
//! never affects the valid ones.

use std::collections::HashMap;

use crate::contract::address_policy::AddressPolicy;
use crate::contract::provider::{EndpointSet, RejectedEntry, Rejections};
use crate::discovery::sink::Answered;
use crate::error::{Error, ErrorKind};
use crate::model::endpoint::{Endpoint, EndpointEntry, EndpointId, ServiceName};

/// A validated answer.
#[derive(Debug)]
pub(crate) struct Validated {
    pub(crate) entries: Vec<EndpointEntry>,
    pub(crate) rejected: Rejections,
    pub(crate) confirmed: bool,
    pub(crate) unknown: bool,
    pub(crate) answered: Answered,
}

impl Validated {
    /// Whether the answer had entries but none is valid: such an answer is garbage, not an empty
    /// service.
    pub(crate) fn is_garbage(&self) -> bool {
        self.entries.is_empty() && self.rejected.count() > 0
    }
}

/// The maximum number of endpoints accepted from one answer: above any real service, and a bound on
/// the memory that a registry can make this process use.
const MAX_ENDPOINTS: usize = 100_000;

impl From<EndpointSet> for Validated {
    /// Accepts an answer without entries to reject.
    fn from(mut set: EndpointSet) -> Self {
        let rejected = set.take_rejected();
        let (confirmed, unknown, answered) = (set.is_confirmed(), set.is_unknown_service(), (&set).into());
        Self { entries: set.into_entries(), rejected, confirmed, unknown, answered }
    }
}

/// Rejects entries of another service, addresses that the source may not name, duplicate ids, and
/// entries above the maximum number.
///
/// Of two entries with one id the first is kept; if both name one place, with the healthier claim
/// and the stricter lifecycle of the two. Entries with different ids may name one place.
pub(crate) fn validate(service: &ServiceName, set: EndpointSet, addresses: AddressPolicy) -> Validated {
    let mut sifted = Validated::from(set);
    let Validated { entries, rejected, .. } = &mut sifted;
    let mut ids: HashMap<&EndpointId, usize> = HashMap::with_capacity(entries.len().min(MAX_ENDPOINTS));
    let mut twins = Vec::new();
    let faults: Vec<_> = entries
        .iter()
        .enumerate()
        .map(|(index, entry)| {
            let endpoint = entry.endpoint();
            let fault = fault(endpoint, service, addresses);
            if fault.is_some() {
                fault
            } else if let Some(first) = ids.get(endpoint.id()) {
                if entries[*first].endpoint().place() != endpoint.place() {
                    return Some(Fault::IdTwice);
                }
                twins.push((*first, entry.health(), entry.lifecycle()));
                Some(Fault::EntryTwice)
            } else if ids.len() == MAX_ENDPOINTS {
                Some(Fault::TooMany)
            } else {
                ids.insert(endpoint.id(), index);
                None
            }
        })
        .collect();
    for (first, health, lifecycle) in twins {
        let entry = &mut entries[first];
        let health = entry.health().healthier(health);
        *entry = entry.clone().with_health(health).with_lifecycle(entry.lifecycle().stricter(lifecycle));
    }
    let mut faults = faults.into_iter();
    entries.retain(|entry| {
        let fault = faults.next().flatten();
        if let Some(fault) = fault {
            rejected.add(|| fault.of(entry.endpoint(), service));
        }
        fault.is_none()
    });
    // The entries are kept for long, and the buffer that they were collected in can be many times
    // as large.
    entries.shrink_to_fit();
    sifted
}

/// Returns the fault of an endpoint by itself, regardless of the other entries.
pub(super) fn fault(endpoint: &Endpoint, service: &ServiceName, addresses: AddressPolicy) -> Option<Fault> {
    if endpoint.service() != service {
        return Some(Fault::Elsewhere);
    }
    addresses.refuses_endpoint(endpoint).map(Fault::Address)
}

/// Why an entry is rejected.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    Elsewhere,
    Address(&'static str),
    IdTwice,
    EntryTwice,
    TooMany,
}

impl Fault {
    fn of(self, endpoint: &Endpoint, service: &ServiceName) -> RejectedEntry {
        let fault = match self {
            Self::Elsewhere => {
                format!("belongs to service {}, not to {service}", endpoint.service())
            }
            Self::Address(why) => format!("its address {} {why}", endpoint.address()),
            Self::IdTwice => "duplicate id; keeping the first entry".to_owned(),
            Self::EntryTwice => {
                format!("duplicate id at {}; the healthier claim counts", endpoint.authority())
            }
            Self::TooMany => {
                format!("more than {MAX_ENDPOINTS} endpoints; keeping the first ones")
            }
        };
        let error = Error::new(ErrorKind::Validation, fault).with_code("ENTRY_REJECTED");
        RejectedEntry::new(format!("endpoint {}", endpoint.id()), error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::health::{Health, Lifecycle};

    fn entry(id: &str, service: &str, address: &str) -> EndpointEntry {
        EndpointEntry::new(Endpoint::builder(id, service, address, 80).build().expect("valid"))
    }

    #[test]
    fn each_bad_entry_is_left_out_and_named_and_the_good_ones_stay() {
        let service = ServiceName::new("users").expect("valid");
        let mut set = EndpointSet::new([
            entry("a", "users", "10.0.0.1"),
            entry("a", "users", "10.0.0.2"),
            entry("b", "users", "10.0.0.1"),
            entry("c", "orders", "10.0.0.3"),
            entry("d", "users", "10.0.0.4"),
        ]);
        set.reject("entry 5", Error::invalid("port", 0, "a number from 1 to 65535"));
        let sifted = validate(&service, set, AddressPolicy::IN_PROCESS);
        let kept: Vec<_> = sifted.entries.iter().map(|entry| entry.endpoint().id().as_str()).collect();
        assert_eq!(kept, ["a", "b", "d"]);
        let emitted: Vec<_> = sifted
            .rejected
            .kept()
            .iter()
            .map(|entry| format!("{}: {}", entry.what(), entry.error()))
            .collect();
        assert_eq!(
            emitted,
            [
                "entry 5: port: 0 is not allowed; give a number from 1 to 65535",
                "endpoint a: duplicate id; keeping the first entry",
                "endpoint c: belongs to service orders, not to users",
            ]
        );
        assert!(!sifted.is_garbage());
    }

    #[test]
    fn an_entry_listed_twice_has_the_healthier_claim_and_the_stricter_lifecycle_in_any_order() {
        let service = ServiceName::new("users").expect("valid");
        let sick = entry("a", "users", "10.0.0.1").with_health(Health::Unhealthy);
        let well = entry("a", "users", "::ffff:10.0.0.1").with_health(Health::Healthy);
        let draining = entry("a", "users", "10.0.0.1").with_lifecycle(Lifecycle::Draining);
        for (entries, lifecycle) in [
            (vec![&sick, &well], Lifecycle::InService),
            (vec![&well, &sick], Lifecycle::InService),
            (vec![&sick, &well, &draining], Lifecycle::Draining),
            (vec![&draining, &sick, &well], Lifecycle::Draining),
        ] {
            let set = EndpointSet::new(entries.into_iter().cloned());
            let sifted = validate(&service, set, AddressPolicy::IN_PROCESS);
            let [one] = &sifted.entries[..] else { panic!("{sifted:?}") };
            assert_eq!((one.health(), one.lifecycle()), (Health::Healthy, lifecycle));
        }
    }

    #[test]
    fn an_answer_of_bad_entries_alone_is_garbage_and_an_empty_one_is_not() {
        let service = ServiceName::new("users").expect("valid");
        assert!(
            validate(
                &service,
                EndpointSet::new([entry("c", "orders", "10.0.0.3")]),
                AddressPolicy::IN_PROCESS
            )
            .is_garbage()
        );
        assert!(!validate(&service, EndpointSet::new([]), AddressPolicy::IN_PROCESS).is_garbage());
    }

    #[test]
    fn more_endpoints_than_anything_real_has_are_left_out_and_counted() {
        let service = ServiceName::new("users").expect("valid");
        let at = |n: usize| format!("10.{}.{}.{}", n >> 16, (n >> 8) & 255, n & 255);
        let all = (0..MAX_ENDPOINTS + 5_000).map(|n| entry(&format!("users-{n}"), "users", &at(n)));
        let sifted = validate(&service, EndpointSet::new(all), AddressPolicy::IN_PROCESS);
        assert_eq!((sifted.entries.len(), sifted.rejected.count()), (MAX_ENDPOINTS, 5_000));
        assert_eq!(sifted.rejected.kept().len(), 1_024, "the others are only counted");
        let emitted = sifted.rejected.kept()[0].error().to_string();
        assert_eq!(emitted, "more than 100000 endpoints; keeping the first ones");
    }
}
