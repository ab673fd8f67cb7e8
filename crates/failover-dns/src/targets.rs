//! SRV records and the addresses of their targets.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use failover_core::Error;
use hickory_resolver::proto::rr::rdata::SRV;
use hickory_resolver::proto::rr::{Name, RData, Record};

use crate::family::Family;
use crate::resolver::plain;

/// A weight of 0 counts as 1 beside others, and weight 1 this much.
const SCALE: u32 = 100;

/// An instance of a service.
pub(crate) struct Place {
    pub(crate) id: String,
    pub(crate) address: SocketAddr,
    pub(crate) host: Name,
    pub(crate) weight: u32,
    pub(crate) priority: u32,
}

/// The addresses of targets, or why there are none.
pub(crate) type Addresses = HashMap<Name, Result<Vec<IpAddr>, Error>>;

/// Returns the SRV records of an answer.
pub(crate) fn records(data: Vec<RData>) -> Vec<SRV> {
    let srv = |data| if let RData::SRV(srv) = data { Some(srv) } else { None };
    data.into_iter().filter_map(srv).collect()
}

/// Returns whether the service is decidedly not available (RFC 2782).
pub(crate) fn is_none(records: &[SRV]) -> bool {
    matches!(records, [only] if only.target.is_root())
}

/// Returns the addresses of targets that came with the answer.
pub(crate) fn given(additional: &[Record], family: Family) -> Addresses {
    let mut given = Addresses::new();
    for record in additional {
        let Some(address) = address(&record.data).filter(|address| family.has(*address)) else { continue };
        if let Ok(addresses) = given.entry(record.name.clone()).or_insert_with(|| Ok(Vec::new())) {
            // A server may repeat them for each record.
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
    }
    given
}

pub(crate) fn address(data: &RData) -> Option<IpAddr> {
    match data {
        RData::A(address) => Some(address.0.into()),
        RData::AAAA(address) => Some(address.0.into()),
        _ => None,
    }
}

/// Returns the instances that the records name, and those that cannot be used with the reason.
pub(crate) fn places(records: &[SRV], addresses: &Addresses) -> (Vec<Place>, Vec<(String, Error)>) {
    let (mut places, mut rejected) = (Vec::new(), Vec::new());
    for srv in records {
        let id = format!("{}:{}", plain(&srv.target), srv.port);
        if srv.port == 0 {
            rejected.push((id, Error::invalid("port of the SRV record", 0, "a number from 1 to 65535")));
            continue;
        }
        if srv.target.is_root() {
            let wanted = "the name of a host; `.` stands alone, for a service that is not available";
            rejected.push((id, Error::invalid("target of the SRV record", ".", wanted)));
            continue;
        }
        let found = match addresses.get(&srv.target) {
            Some(Ok(found)) => found,
            Some(Err(error)) => {
                rejected.push((id, error.clone()));
                continue;
            }
            None => continue,
        };
        for ip in found {
            let address = SocketAddr::new(*ip, srv.port);
            places.push(Place {
                id: if found.len() == 1 { id.clone() } else { address.to_string() },
                address,
                host: srv.target.clone(),
                weight: weight(srv, records),
                priority: srv.priority.into(),
            });
        }
    }
    (places, rejected)
}

/// Returns the weight of a record's endpoints: with 0 a small share beside others of the same priority, and
/// an equal one if all have 0.
fn weight(srv: &SRV, records: &[SRV]) -> u32 {
    let mut same = records.iter().filter(|other| other.priority == srv.priority);
    match srv.weight {
        0 => 1,
        weight if same.any(|other| other.weight == 0) => SCALE * u32::from(weight),
        weight => weight.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn srv(priority: u16, weight: u16, port: u16, target: &str) -> SRV {
        SRV::new(priority, weight, port, Name::from_ascii(target).expect("a name"))
    }

    fn at(names: &[(&str, &[&str])]) -> Addresses {
        let ip = |text: &&str| text.parse().expect("an address");
        let one = |(name, ips): &(&str, &[&str])| {
            (Name::from_ascii(name).expect("a name"), Ok(ips.iter().map(ip).collect()))
        };
        names.iter().map(one).collect()
    }

    #[test]
    fn weight_0_is_rarely_beside_others_and_equal_among_its_like() {
        let addresses = at(&[("a.", &["10.0.0.1"])]);
        for (given, wanted) in [
            (&[(1, 3), (1, 1)][..], &[3, 1][..]),
            (&[(1, 0), (1, 0)], &[1, 1]),
            (&[(1, 0), (1, 1), (1, 65_535)], &[1, 100, 6_553_500]),
            (&[(1, 0), (2, 7)], &[1, 7]),
        ] {
            let records: Vec<_> =
                given.iter().map(|(priority, weight)| srv(*priority, *weight, 80, "a.")).collect();
            let (places, rejected) = places(&records, &addresses);
            let weights: Vec<_> = places.iter().map(|place| place.weight).collect();
            assert_eq!(weights, wanted, "{given:?}");
            assert!(rejected.is_empty());
            assert_eq!(places[0].priority, 1);
        }
    }

    #[test]
    fn ids_are_the_target_or_the_addresses_of_one_with_several() {
        let addresses = at(&[("one.", &["10.0.0.1"]), ("two.", &["10.0.0.2", "fd00::1"])]);
        let records = [srv(0, 1, 80, "one."), srv(0, 1, 81, "two.")];
        let ids: Vec<_> = places(&records, &addresses).0.into_iter().map(|place| place.id).collect();
        assert_eq!(ids, ["one:80", "10.0.0.2:81", "[fd00::1]:81"]);
    }

    #[test]
    fn what_cannot_be_used_is_rejected_and_the_others_stay() {
        let addresses = at(&[("one.", &["10.0.0.1"])]);
        let records = [srv(0, 1, 80, "one."), srv(0, 1, 0, "one."), srv(0, 1, 80, ".")];
        let (places, rejected) = places(&records, &addresses);
        assert_eq!(places.len(), 1);
        let ids: Vec<_> = rejected.iter().map(|(id, _)| id.as_str()).collect();
        assert_eq!(ids, ["one:0", ":80"]);
        assert!(!is_none(&records) && is_none(&records[2..]));
    }
}
