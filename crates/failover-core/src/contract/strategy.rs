//! The caller's own strategy.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::model::breaker_state::BreakerState;
use crate::model::endpoint::Endpoint;
use crate::model::health::Health;

/// Chooses an endpoint by rules of the caller's own, for [`StrategyKind::Custom`](crate::StrategyKind::Custom); it is
/// set with [`custom_strategy`](crate::config::FailoverConfigBuilder::custom_strategy).
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
    /// The index of the endpoint that gets the call, or `None` to leave it to the algorithm of the configuration.
    ///
    /// It runs inside of every pick, so it must not wait. A panic in it is caught, counted and told, and so is an
    /// answer that is no candidate; the algorithm then picks. One that is out at this moment is passed over likewise,
    /// without being told.
    fn pick(&self, candidates: &Candidates<'_>) -> Option<usize>;
}

/// The endpoints of a service as they are at the moment of a choice, by tier and id.
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

    /// How many there are.
    pub fn len(&self) -> usize {
        self.view.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One of them with its state.
    pub fn get(&self, index: usize) -> Option<Candidate<'a>> {
        self.view.get(index)
    }

    /// All of them with their state.
    pub fn iter(&self) -> impl Iterator<Item = Candidate<'a>> {
        let view = self.view;
        (0..view.len()).filter_map(move |index| view.get(index))
    }

    /// Which attempt of the call this is for, from 1.
    pub fn attempt(&self) -> u32 {
        self.view.attempt()
    }
}

impl fmt::Debug for Candidates<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// An endpoint with its state at the moment of a choice.
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
    /// The endpoint, with its locality, tags and metadata.
    pub fn endpoint(&self) -> &'a Endpoint {
        self.endpoint
    }

    /// Whether it is given calls.
    pub fn is_available(&self) -> bool {
        self.available
    }

    /// Whether this call has tried it already.
    pub fn was_tried(&self) -> bool {
        self.tried
    }

    /// What its source says of it.
    pub fn health(&self) -> Health {
        self.health
    }

    /// The state of its breaker.
    pub fn breaker(&self) -> BreakerState {
        self.breaker
    }

    /// How many calls it has in flight.
    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// The weight that counts for it, at least 1.
    pub fn weight(&self) -> u32 {
        self.weight
    }

    /// How long its attempts take of late (peak-EWMA, a failure counts as 5 s); `None` while nothing is known.
    pub fn latency(&self) -> Option<Duration> {
        self.latency
    }
}

/// A strategy as a configuration holds it: equal to itself only.
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
