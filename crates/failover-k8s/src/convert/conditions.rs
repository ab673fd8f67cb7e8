//! An endpoint's conditions and their meaning.

use failover_core::provider::EndpointEntry;
use failover_core::{Health, Lifecycle};
use serde_json::{Map, Value, json};

/// The conditions of an endpoint; each may be unset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Conditions {
    ready: Option<bool>,
    serving: Option<bool>,
    terminating: Option<bool>,
}

impl Conditions {
    /// Reads the conditions. A missing or non-boolean condition is unset.
    pub(super) fn read(endpoint: &Value) -> Self {
        let said =
            |name: &str| endpoint.get("conditions").and_then(|all| all.get(name)).and_then(Value::as_bool);
        Self { ready: said("ready"), serving: said("serving"), terminating: said("terminating") }
    }

    /// Returns whether the endpoint is ready; unset means ready, as in kube-proxy.
    pub(super) fn ready(self) -> bool {
        self.ready.unwrap_or(true)
    }

    pub(super) fn serving(self) -> bool {
        self.serving.unwrap_or(true)
    }

    pub(super) fn terminating(self) -> bool {
        self.terminating.unwrap_or(false)
    }

    /// Returns the health and lifecycle that the conditions alone imply.
    pub(super) fn claims(self) -> (Health, Lifecycle) {
        if self.ready() {
            (Health::Healthy, Lifecycle::InService)
        } else if self.terminating() {
            let health = if self.serving() { Health::Healthy } else { Health::Unhealthy };
            (health, Lifecycle::Draining)
        } else {
            (Health::Unhealthy, Lifecycle::InService)
        }
    }

    /// Returns the conditions for an entry. Unknown health in service is left unset.
    pub(super) fn of(entry: &EndpointEntry, expired: bool) -> Self {
        let (health, lifecycle) = (entry.health(), entry.lifecycle());
        if health == Health::Unknown && lifecycle == Lifecycle::InService && !expired {
            return Self::default();
        }
        let serving = health != Health::Unhealthy && lifecycle != Lifecycle::Maintenance && !expired;
        let terminating = lifecycle == Lifecycle::Draining;
        Self { ready: Some(serving && !terminating), serving: Some(serving), terminating: Some(terminating) }
    }

    /// Returns whether both have the same meaning to a reader.
    pub(super) fn means(self, other: Self) -> bool {
        let meaning = |one: Self| (one.ready(), one.serving(), one.terminating());
        meaning(self) == meaning(other)
    }

    pub(super) fn write(self) -> Value {
        let mut out = Map::new();
        for (name, value) in
            [("ready", self.ready), ("serving", self.serving), ("terminating", self.terminating)]
        {
            if let Some(value) = value {
                out.insert(name.to_owned(), json!(value));
            }
        }
        Value::Object(out)
    }
}
