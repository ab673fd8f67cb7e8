//! Endpoints of `failover` from DNS: A, AAAA and SRV records, asked for as often as their time to live says.
//!
//! For services whose instances a name server lists: headless services of Kubernetes, Consul's DNS, a zone
//! of one's own. [`service`] makes a handle from one line, [`DnsProvider`] a provider for a manager. The
//! facade crate `failover` re-exports this crate as `failover::dns`, behind the feature `dns`.
//!
//! # What an answer means
//!
//! | answer | then |
//! |---|---|
//! | records | they are the endpoints |
//! | NXDOMAIN: the name does not exist | the service is unknown; its endpoints stay for the time of the empty policy, five minutes by default |
//! | NODATA: the name has no such record | the service is empty, after the empty policy, too |
//! | one SRV record with the target `.` | the service is decidedly not available (RFC 2782), and empty at once |
//! | SERVFAIL, REFUSED, a referral, an answer that is cut off or cannot be read | an error of kind `Connection`: the endpoints stay and count as stale |
//! | silence | an error of kind `Timeout`: the endpoints stay and count as stale |
//!
//! Name servers are asked in their order, beginning with the one that answered last; the next is asked
//! where one gives no answer. Every error names the name, the servers that were asked, and what to do.
//!
//! # Time to live
//!
//! The shortest time to live of the records and aliases of an answer says when to ask again: 0 means
//! 250 ms, and [`max_ttl`](DnsProviderBuilder::max_ttl) is the limit. No answer is cached. NXDOMAIN and
//! NODATA are asked again after the time that their zone names, 30 s at most, or 5 s if it names none.
//!
//! # SRV records
//!
//! The priority is the endpoint's: a lower one comes first. The weight is its weight; weight 0 is a small
//! share (one hundredth of weight 1) beside other weights, and an equal one if all are 0. The addresses of
//! targets come with the answer, or are asked for. A target that cannot be resolved is left out, counted
//! and shown with its reason; the others stay.
//!
//! # Trust
//!
//! A DNS answer is from another machine: loopback addresses in it are refused, unless
//! [`allow_loopback`](DnsProviderBuilder::allow_loopback) allows them for a name. The hosts file of the
//! system is not read.
//!
//! The crate has no features. It needs Rust 1.88 and a tokio runtime with its timer and I/O enabled. It
//! logs nothing; hickory-resolver logs under its own target.

mod answer;
mod family;
mod provider;
mod resolver;
mod service;
mod source;
mod targets;
mod url;

/// Compiles the README's code.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub use family::Family;
pub use provider::{DnsProvider, DnsProviderBuilder};
pub use service::{DnsService, service};
