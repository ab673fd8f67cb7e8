//! Where a driver's findings go.

use std::fmt::Debug;
use std::time::Duration;

use crate::config::{EmptyPolicy, RemovalGuard};
use crate::contract::provider::Rejections;
use crate::error::Error;
use crate::model::endpoint::{EndpointEntry, EndpointId, ServiceName};
use crate::runtime::clock::Clock;
use crate::runtime::random::Random;

/// What one source's driver tells of its service, and the little that it has to know of it.
///
/// The engine implements it, so that discovery knows nothing of what comes after it.
pub(crate) trait Sink: Debug + Send + Sync + 'static {
    fn service(&self) -> &ServiceName;

    fn clock(&self) -> &Clock;

    fn random(&self) -> &Random;

    fn empty_policy(&self) -> EmptyPolicy;

    /// How many endpoints the source has named last.
    fn known(&self) -> usize;

    fn removal_guard(&self) -> RemovalGuard;

    /// The endpoints that the source has named last.
    fn entries(&self) -> Vec<EndpointEntry>;

    /// A good answer: these entries, checked one by one, replace the last ones, of which the lame stay as a last
    /// resort. `age`: how old it was when it came.
    fn publish(
        &self,
        entries: Vec<EndpointEntry>,
        retained: Vec<EndpointEntry>,
        unknown: bool,
        age: Duration,
    );

    /// A good answer that differs from the last one in this, and in nothing else.
    fn publish_change(&self, gone: &[EndpointId], come: Vec<EndpointEntry>, age: Duration);

    /// A good answer that names what the last one named, which came `age` ago.
    fn answered_again(&self, age: Duration);

    /// Many endpoints went at once and are kept for a while.
    fn removal_held(&self, reason: String);

    /// The time of those that were kept as a last resort is over.
    fn drop_retained(&self);

    /// Entries of an answer that cannot be used.
    fn rejected(&self, entries: &Rejections);

    /// The source did not answer: what it said before stays.
    fn failed(&self, error: Error);

    /// An empty answer is not believed yet: what it said before stays.
    fn held(&self, error: Error);

    /// The provider panicked.
    fn panicked(&self, reason: String);

    /// Nobody follows the source any more.
    fn ended(&self, why: &Error);
}
