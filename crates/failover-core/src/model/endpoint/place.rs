//! The place of an endpoint: two endpoints at one place are the same process.

use std::cmp::Ordering;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::net::IpAddr;

use crate::model::endpoint::Endpoint;

/// The canonical address and port of an endpoint. Letter case, a trailing dot and the prefix
/// `::ffff:` make no difference.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    host: Host<'a>,
    port: u16,
}

#[derive(Clone, Copy, Debug)]
enum Host<'a> {
    Ip(IpAddr),
    /// Without a trailing dot; letter case is ignored by the comparisons below.
    Name(&'a str),
}

impl Endpoint {
    /// Returns the endpoint's place.
    pub(crate) fn place(&self) -> Place<'_> {
        let host = match self.ip() {
            Some(ip) => Host::Ip(ip.to_canonical()),
            None => Host::Name(self.address().strip_suffix('.').unwrap_or(self.address())),
        };
        Place { host, port: self.port() }
    }
}

fn lower(name: &str) -> impl Iterator<Item = u8> {
    name.bytes().map(|byte| byte.to_ascii_lowercase())
}

impl Ord for Place<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        let host = match (self.host, other.host) {
            (Host::Ip(a), Host::Ip(b)) => a.cmp(&b),
            (Host::Name(a), Host::Name(b)) => lower(a).cmp(lower(b)),
            (Host::Ip(_), Host::Name(_)) => Ordering::Less,
            (Host::Name(_), Host::Ip(_)) => Ordering::Greater,
        };
        host.then(self.port.cmp(&other.port))
    }
}

impl PartialOrd for Place<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Place<'_> {
    fn eq(&self, other: &Self) -> bool {
        let host = match (self.host, other.host) {
            (Host::Ip(a), Host::Ip(b)) => a == b,
            (Host::Name(a), Host::Name(b)) => a.eq_ignore_ascii_case(b),
            _ => false,
        };
        host && self.port == other.port
    }
}

impl Eq for Place<'_> {}

impl Hash for Place<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self.host {
            Host::Ip(IpAddr::V4(ip)) => state.write_u32(ip.to_bits()),
            Host::Ip(IpAddr::V6(ip)) => state.write_u128(ip.to_bits()),
            Host::Name(name) => lower(name).for_each(|byte| state.write_u8(byte)),
        }
        state.write_u16(self.port);
    }
}

/// A random key of a table of places: faster than the standard hasher, and nobody who does not know
/// the key can choose places that collide.
///
/// The hash is a polynomial modulo a prime, with the parts of the place as coefficients, at the key.
/// Two places, of n parts at most, collide in the lower b bits for no more than 2n of 2^b keys. An IP
/// address has 2 or 5 parts with its port, and a name 38 at most.
#[derive(Clone, Debug)]
pub(crate) struct PlaceKey(u64);

pub(crate) struct PlaceHasher {
    key: u64,
    hash: u64,
    /// Bytes that do not fill a part yet, and their number.
    bytes: u64,
    count: u32,
}

const PRIME: u64 = (1 << 61) - 1;
/// The bytes of a part, which is less than the prime.
const PART: u32 = 7;

impl PlaceKey {
    /// Draws a key, as for each of the standard tables.
    pub(crate) fn random() -> Self {
        Self(RandomState::new().hash_one(()) % PRIME)
    }
}

impl BuildHasher for PlaceKey {
    type Hasher = PlaceHasher;

    #[inline]
    fn build_hasher(&self) -> PlaceHasher {
        // From 1, so that leading zeros count.
        PlaceHasher { key: self.0, hash: 1, bytes: 0, count: 0 }
    }
}

impl PlaceHasher {
    #[inline]
    fn add(&mut self, part: u64) {
        let product = u128::from(self.hash) * u128::from(self.key) + u128::from(part);
        let sum = (product as u64 & PRIME) + (product >> 61) as u64;
        self.hash = if sum >= PRIME { sum - PRIME } else { sum };
    }

    #[inline]
    fn add_bytes(&mut self) {
        if self.count > 0 {
            self.add(self.bytes);
            (self.bytes, self.count) = (0, 0);
        }
    }
}

impl Hasher for PlaceHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u8(*byte);
        }
    }

    #[inline]
    fn write_u8(&mut self, byte: u8) {
        self.bytes = self.bytes << 8 | u64::from(byte);
        self.count += 1;
        if self.count == PART {
            self.add_bytes();
        }
    }

    #[inline]
    fn write_u16(&mut self, number: u16) {
        self.add_bytes();
        self.add(number.into());
    }

    #[inline]
    fn write_u32(&mut self, number: u32) {
        self.add_bytes();
        self.add(number.into());
    }

    #[inline]
    fn write_u128(&mut self, number: u128) {
        for shift in [96, 64, 32, 0] {
            self.write_u32((number >> shift) as u32);
        }
    }

    #[inline]
    fn finish(&self) -> u64 {
        // The standard table distinguishes the entries of a group by the highest bits. As the factor is
        // odd, as many hashes have the same lowest bits as before.
        self.hash.wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use rand::rngs::SmallRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    fn at(address: &str, port: u16) -> Endpoint {
        Endpoint::builder("a", "users", address, port).build().expect("valid")
    }

    #[test]
    fn spelling_makes_no_other_place_and_port_and_host_do() {
        for same in [
            ["10.0.0.1", "::ffff:10.0.0.1"],
            ["::ffff:a00:1", "10.0.0.1"],
            ["db.example.com", "DB.Example.COM."],
            ["fd00::1", "FD00:0:0:0:0:0:0:1"],
        ] {
            let [a, b] = same.map(|address| at(address, 80));
            assert_eq!(a.place(), b.place(), "{same:?}");
            assert_eq!(a.place().cmp(&b.place()), Ordering::Equal, "{same:?}");
            assert_eq!(HashSet::from([a.place(), b.place()]).len(), 1, "{same:?}");
            let key = PlaceKey::random();
            assert_eq!(key.hash_one(a.place()), key.hash_one(b.place()), "{same:?}");
        }
        let all = [
            at("10.0.0.1", 80),
            at("10.0.0.1", 81),
            at("10.0.0.2", 80),
            at("fd00::1", 80),
            at("db.example.com", 80),
            at("db.example.co", 80),
            at("localhost", 80),
            at("127.0.0.1", 80),
        ];
        assert_eq!(all.iter().map(Endpoint::place).collect::<HashSet<_>>().len(), all.len());
    }

    /// How often two of these places have the same lowest 16 bits, or the same highest 7 bits, in
    /// relation to random numbers.
    fn collisions(all: &[Endpoint], key: &PlaceKey) -> [f64; 2] {
        let pairs = (all.len() * (all.len() - 1) / 2) as f64;
        [(16, 0), (7, 57)].map(|(bits, shift)| {
            let mut counts = vec![0_u64; 1 << bits];
            for place in all.iter().map(Endpoint::place) {
                counts[(key.hash_one(place) >> shift) as usize & ((1 << bits) - 1)] += 1;
            }
            let same: u64 = counts.iter().map(|count| count * count.saturating_sub(1) / 2).sum();
            same as f64 * f64::from(1 << bits) / pairs
        })
    }

    #[test]
    fn the_hashes_of_places_that_resemble_one_another_are_as_distributed_as_random_numbers() {
        let ports: Vec<_> = (1..=4_096).map(|port| at("10.0.0.1", port)).collect();
        let hosts: Vec<_> = (0..4_096).map(|n| at(&format!("10.0.{}.{}", n >> 8, n & 255), 80)).collect();
        let steps: Vec<_> = (0..4_096).map(|n| at(&format!("10.{}.{}.0", n >> 8, n & 255), 80)).collect();
        let long: Vec<_> = (0..4_096).map(|n| at(&format!("fd00:{n:x}::1"), 80)).collect();
        let names: Vec<_> = (0..4_096).map(|n| at(&format!("users-{n}.example.com"), 80)).collect();
        for all in [ports, hosts, steps, long, names] {
            // One key may be bad luck for one of the lists, and several for a mean. These are drawn once and for all.
            let (keys, mut random) = (64, SmallRng::seed_from_u64(1));
            let sum = (0..keys).map(|_| collisions(&all, &PlaceKey(random.random_range(0..PRIME))));
            let [low, high] = sum.fold([0.0, 0.0], |sum, of| [sum[0] + of[0], sum[1] + of[1]]);
            let name = all[1].authority();
            assert!(low / f64::from(keys) < 3.0 && high / f64::from(keys) < 3.0, "{name}: {low} {high}");
        }
    }

    #[test]
    fn a_key_makes_other_hashes_than_another() {
        let place = at("10.0.0.1", 80);
        let hashes: HashSet<_> = (0..16).map(|_| PlaceKey::random().hash_one(place.place())).collect();
        assert_eq!(hashes.len(), 16);
    }
}
