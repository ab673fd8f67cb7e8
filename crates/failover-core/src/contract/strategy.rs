//! The caller's own strategy.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::model::breaker_state::BreakerState;
use crate::model::endpoint::Endpoint;
use crate::model::health::Health;

/// Picks an endpoint by custom rules.
///
/// Used with [`StrategyKind::Custom`](crate::StrategyKind::Custom), and set with
/// [`custom_strategy`](crate::config::FailoverConfigBuilder::custom_strategy).
///
/// ```
/// use failover_core::{Candidates, FailoverConfig, Outcome, ServiceHandle, Strategy};
///
/// /// The one with the fewest calls in flight, of all.
/// struct Idlest;
///
/// impl Strategy for Idlest {
///     fn pick(&self, candidates: &Candidates<'_>) -> Option<usize> {
///         let usable = (0..candidates.len()).filter(|index| {
///             candidates.get(*index).is_some_and(|c| c.is_available() && !c.was_tried())
///         });
///         usable.min_by_key(|index| candidates.get(*index).map(|c| c.in_flight()))
///     }
/// }
///
/// let config = FailoverConfig::builder().custom_strategy(Idlest).build()?;
/// let users = ServiceHandle::builder("users").endpoints(["10.0.0.1:80", "10.0.0.2:80"]).config(config).build()?;
/// let first = users.select()?;
/// let second = users.select()?;
/// assert_ne!(first.endpoint().id(), second.endpoint().id());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Strategy: Send + Sync + 'static {
    /// Returns the index of the picked endpoint, or `None` to use the configured algorithm.
    ///
    /// Runs inside of every pick, so it must not block. A panic, and an index that is no candidate,
    /// are counted and reported, and the algorithm picks instead. The algorithm also picks, without
    /// a report, if the returned endpoint is currently unavailable.
    fn pick(&self, candidates: &Candidates<'_>) -> Option<usize>;
}

/// The endpoints of a service at the moment of a pick, by tier and id.
#[derive(Clone, Copy)]
pub struct Candidates<'a> {
    view: &'a dyn View,
}

/// What [`Candidates`] looks at.
pub(crate) trait View {
    fn len(&self) -> usize;
    fn get(&self, index: usize) -> Option<Candidate<'_>>;
    fn attempt(&self) -> u32;
}

impl<'a> Candidates<'a> {
    pub(crate) fn new(view: &'a dyn View) -> Self {
        Self { view }
    }

    /// Returns the number of candidates.
    pub fn len(&self) -> usize {
        self.view.len()
    }

    /// Returns whether there are no candidates.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns one candidate with its state.
    pub fn get(&self, index: usize) -> Option<Candidate<'a>> {
        self.view.get(index)
    }

    /// Returns an iterator over the candidates with their state.
    pub fn iter(&self) -> impl Iterator<Item = Candidate<'a>> {
        let view = self.view;
        (0..view.len()).filter_map(move |index| view.get(index))
    }

    /// Returns the number of the attempt within its call, starting at 1.
    pub fn attempt(&self) -> u32 {
        self.view.attempt()
    }
}

impl fmt::Debug for Candidates<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// An endpoint with its state at the moment of a pick.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) available: bool,
    pub(crate) tried: bool,
    pub(crate) health: Health,
    pub(crate) breaker: BreakerState,
    pub(crate) in_flight: u32,
    pub(crate) weight: u32,
    pub(crate) latency: Option<Duration>,
}

impl<'a> Candidate<'a> {
    /// Returns the endpoint, with its locality, tags and metadata.
    pub fn endpoint(&self) -> &'a Endpoint {
        self.endpoint
    }

    /// Returns whether it receives calls.
    pub fn is_available(&self) -> bool {
        self.available
    }

    /// Returns whether this call has already tried it.
    pub fn was_tried(&self) -> bool {
        self.tried
    }

    /// Returns the health that its source claims.
    pub fn health(&self) -> Health {
        self.health
    }

    /// Returns the state of its breaker.
    pub fn breaker(&self) -> BreakerState {
        self.breaker
    }

    /// Returns the number of its calls in flight.
    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Returns its effective weight, at least 1.
    pub fn weight(&self) -> u32 {
        self.weight
    }

    /// Returns its recent latency, or `None` before the first measurement.
    ///
    /// The latency is a `PeakEwma` in which a failure counts as 5 s.
    pub fn latency(&self) -> Option<Duration> {
        self.latency
    }
}

/// A strategy in a configuration, equal only to itself.
#[derive(Clone)]
pub(crate) struct CustomStrategy(Arc<dyn Strategy>);

impl CustomStrategy {
    pub(crate) fn new(strategy: impl Strategy) -> Self {
        Self(Arc::new(strategy))
    }

    pub(crate) fn get(&self) -> &dyn Strategy {
        &*self.0
    }
}

impl PartialEq for CustomStrategy {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for CustomStrategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CustomStrategy")
    }
}
