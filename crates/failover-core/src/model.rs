//! The plain data of the library: endpoints, health, health checks and load reports.

pub(crate) mod attempt_class;
pub(crate) mod breaker_state;
pub(crate) mod defaults;
pub(crate) mod endpoint;
pub(crate) mod forced;
pub(crate) mod health;
pub(crate) mod health_check;
pub(crate) mod load_report;
