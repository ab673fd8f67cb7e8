//! Finds a service among those that a manager keeps.

use failover_core::FailoverManager;
use failover_core::inspect::ServiceInspector;

/// Returns the service of this name and query, if the manager keeps it.
pub(crate) fn find(manager: &FailoverManager, name: &str, query: Option<&str>) -> Option<ServiceInspector> {
    manager.inspect().into_iter().find(|of| of.name().as_str() == name && of.query() == query)
}
