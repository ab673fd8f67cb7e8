//! What an operator's tool reads and changes at a service that a manager keeps.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::config::FailoverConfig;
use crate::engine::Engine;
use crate::error::Error;
use crate::events::Event;
use crate::inspect::explain::Explanation;
use crate::inspect::stats::{ServiceStats, WindowStats};
use crate::model::endpoint::ServiceName;
use crate::model::forced::Forced;

/// A service that a manager keeps, for tools that show it.
///
/// Unlike a handle, it cannot make calls, and it does not keep the service discovered: a tool that
/// looks at all services every second does not prolong the life of one. After the manager has dropped
/// the service, it returns the last state.
#[derive(Clone)]
pub struct ServiceInspector(Arc<Engine>);

impl ServiceInspector {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self(engine)
    }

    /// Returns the name of the service.
    pub fn name(&self) -> &ServiceName {
        self.0.name()
    }

    /// Returns the query for the service, if it is more than its name.
    pub fn query(&self) -> Option<&str> {
        self.0.query().map(|query| &**query)
    }

    /// Returns the statistics of the service: see [`ServiceHandle::stats`](crate::ServiceHandle::stats).
    pub fn stats(&self) -> ServiceStats {
        self.0.stats()
    }

    /// Explains the routing of calls: see [`ServiceHandle::explain`](crate::ServiceHandle::explain).
    pub fn explain(&self) -> Explanation {
        self.0.explain()
    }

    /// Returns what happened in each second of about the last minute, oldest first: at most 128 periods.
    ///
    /// Each one is the difference of two readings. While calls are made, readings are about 1 s apart
    /// (1 ms for each endpoint of a service with more than 1 000); a reader of the statistics adds
    /// readings. A period without calls and readers is one long period.
    pub fn history(&self) -> Vec<WindowStats> {
        self.0.history()
    }

    /// Returns the newest events of the service, oldest first: at most `limit`.
    pub fn events(&self, limit: usize) -> Vec<Arc<Event>> {
        self.0.events().newest(limit)
    }

    /// Returns the current configuration.
    pub fn config(&self) -> Arc<FailoverConfig> {
        self.0.config()
    }

    /// Forces an endpoint out of or into use: see [`ServiceHandle::force`](crate::ServiceHandle::force).
    ///
    /// # Errors
    ///
    /// Returns `NotFound` for an endpoint that the service does not have, and `Validation` for a time
    /// above 24 h, or for an id that endpoints of several sources have: name one as `id@source`.
    pub fn force(&self, id: &str, forced: Forced, time: Duration) -> Result<(), Error> {
        self.0.force(id, forced, time)
    }
}

impl fmt::Debug for ServiceInspector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let endpoints = self.0.snapshot().slots.len();
        f.debug_struct("ServiceInspector")
            .field("service", self.name())
            .field("endpoints", &endpoints)
            .finish_non_exhaustive()
    }
}
