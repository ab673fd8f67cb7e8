//! Statistics and explanations for operators.

pub(crate) mod configured;
pub(crate) mod explain;
pub(crate) mod inspector;
pub(crate) mod service_rules;
pub(crate) mod stats;

pub use crate::engine::UnavailableEndpoint;
pub use crate::engine::availability::{Availability, UnavailableCause};
pub use crate::engine::ejections::{EjectionReason, Ejections};
pub use crate::engine::state::counters::AttemptCounts;
pub use crate::engine::state::durations::{DurationBucket, Durations};
pub use crate::engine::state::latency::Latency;
pub use crate::model::breaker_state::BreakerState;
pub use crate::model::forced::Forced;
pub use configured::ConfiguredValue;
pub use explain::{EndpointExplanation, Explanation, LastFailure, OtherEntry};
pub use inspector::ServiceInspector;
pub use service_rules::ServiceRules;
pub use stats::{EndpointStats, ProviderStats, ServiceStats, SourceStats, WindowStats};
