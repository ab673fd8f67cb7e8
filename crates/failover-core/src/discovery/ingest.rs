//! What a source's answer holds, checked entry by entry.
//!
//! A registry's data is input that nobody vouches for: a bad entry is left out, counted and reported, and never
//! costs the good ones.

use std::collections::HashSet;
use std::time::Duration;

use super::address::AddressPolicy;
use crate::endpoint::{EndpointEntry, EndpointId, ServiceName};
use crate::error::{Error, ErrorKind};
use crate::provider::{EndpointSet, RejectedEntry};

/// An answer, sifted.
#[derive(Debug)]
pub(crate) struct Sifted {
    pub(crate) entries: Vec<EndpointEntry>,
    pub(crate) rejected: Vec<RejectedEntry>,
    pub(crate) confirmed: bool,
    pub(crate) unknown: bool,
    /// How old the answer was when it came.
    pub(crate) age: Duration,
}

impl Sifted {
    /// Whether the answer held entries and none of them can be used: that is garbage, not an empty service.
    pub(crate) fn is_garbage(&self) -> bool {
        self.entries.is_empty() && !self.rejected.is_empty()
    }
}

/// Leaves out what belongs to another service, an address that the source may not name, an id that stands twice, and an address that stands twice: the
/// first of them counts.
pub(crate) fn sift(service: &ServiceName, set: EndpointSet, addresses: AddressPolicy) -> Sifted {
    let mut rejected = set.rejected().to_vec();
    let (confirmed, unknown, age) = (set.is_confirmed(), set.is_unknown_service(), set.age());
    let mut ids: HashSet<EndpointId> = HashSet::new();
    let mut places: HashSet<(String, u16)> = HashSet::new();
    let mut entries = set.into_entries();
    entries.retain(|entry| {
        let endpoint = entry.endpoint();
        let fault = if endpoint.service() != service {
            Some(format!("belongs to service {}, not to {service}", endpoint.service()))
        } else if let Some(why) = endpoint.ip().and_then(|ip| addresses.refuses(ip)) {
            Some(format!("its address {} {why}", endpoint.address()))
        } else if ids.contains(endpoint.id()) {
            Some("its id stands twice; the first one counts".to_owned())
        } else if !places.insert((endpoint.address().to_owned(), endpoint.port())) {
            Some(format!("its address {} stands twice; the first one counts", endpoint.authority()))
        } else {
            ids.insert(endpoint.id().clone());
            None
        };
        if let Some(fault) = fault {
            let what = format!("endpoint {}", endpoint.id());
            rejected.push(RejectedEntry::new(
                what,
                Error::new(ErrorKind::Validation, fault).with_code("ENTRY_REJECTED"),
            ));
            return false;
        }
        true
    });
    Sifted { entries, rejected, confirmed, unknown, age }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::Endpoint;

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
        let sifted = sift(&service, set, AddressPolicy::IN_PROCESS);
        let kept: Vec<_> = sifted.entries.iter().map(|entry| entry.endpoint().id().as_str()).collect();
        assert_eq!(kept, ["a", "d"]);
        let told: Vec<_> =
            sifted.rejected.iter().map(|entry| format!("{}: {}", entry.what(), entry.error())).collect();
        assert_eq!(
            told,
            [
                "entry 5: port: 0 is not allowed; give a number from 1 to 65535",
                "endpoint a: its id stands twice; the first one counts",
                "endpoint b: its address 10.0.0.1:80 stands twice; the first one counts",
                "endpoint c: belongs to service orders, not to users",
            ]
        );
        assert!(!sifted.is_garbage());
    }

    #[test]
    fn an_answer_of_bad_entries_alone_is_garbage_and_an_empty_one_is_not() {
        let service = ServiceName::new("users").expect("valid");
        assert!(
            sift(&service, EndpointSet::new([entry("c", "orders", "10.0.0.3")]), AddressPolicy::IN_PROCESS)
                .is_garbage()
        );
        assert!(!sift(&service, EndpointSet::new([]), AddressPolicy::IN_PROCESS).is_garbage());
    }
}
