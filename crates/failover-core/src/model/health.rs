//! A source's claims about an endpoint.

use crate::codec::document::{one_of, words};

/// The health of an endpoint, as one source claims it.
///
/// In JSON it is a lower-case word. The Go package's integers (0 unknown, 1 healthy, 2 unhealthy, 3
/// degraded) are accepted as well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Health {
    /// No claim yet; such an endpoint receives calls.
    #[default]
    Unknown,
    /// It works.
    Healthy,
    /// It works, but poorly: some strategies rank it after the healthy endpoints.
    Degraded,
    /// It does not work and receives no calls.
    Unhealthy,
}

words! {
    Health, "health", wanted = |_| one_of(Health::WORDS);
    Unknown = "unknown" = 0,
    Healthy = "healthy" = 1,
    Degraded = "degraded" = 3,
    Unhealthy = "unhealthy" = 2,
}

impl Health {
    /// Returns a number that is lower the healthier an endpoint is. No claim ranks after any claim
    /// that the endpoint works.
    pub(crate) fn order(self) -> u8 {
        match self {
            Self::Healthy => 0,
            Self::Degraded => 1,
            Self::Unknown => 2,
            Self::Unhealthy => 3,
        }
    }

    /// Returns the healthier of two claims.
    pub(crate) fn healthier(self, other: Self) -> Self {
        if other.order() < self.order() { other } else { self }
    }
}

/// Whether an endpoint was taken out of service on purpose; independent of its [`Health`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Lifecycle {
    /// It receives calls.
    #[default]
    InService,
    /// It finishes its current calls and receives no new ones.
    Draining,
    /// It is in maintenance and receives no new calls.
    Maintenance,
}

words! {
    Lifecycle, "lifecycle", wanted = |_| one_of(Lifecycle::WORDS);
    InService = "in_service",
    Draining = "draining",
    Maintenance = "maintenance",
}

impl Lifecycle {
    /// Returns the stricter of two claims: maintenance, then draining.
    pub(crate) fn stricter(self, other: Self) -> Self {
        match (self, other) {
            (Self::Maintenance, _) | (_, Self::Maintenance) => Self::Maintenance,
            (Self::Draining, _) | (_, Self::Draining) => Self::Draining,
            _ => Self::InService,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_reads_words_and_the_integers_of_the_go_package_and_writes_words() {
        for (json, health) in [
            ("\"unknown\"", Health::Unknown),
            ("0", Health::Unknown),
            ("\"healthy\"", Health::Healthy),
            ("1", Health::Healthy),
            ("\"unhealthy\"", Health::Unhealthy),
            ("2", Health::Unhealthy),
            ("\"degraded\"", Health::Degraded),
            ("3", Health::Degraded),
        ] {
            assert_eq!(serde_json::from_str::<Health>(json).unwrap(), health, "{json}");
            assert_eq!(serde_json::to_string(&health).unwrap(), format!("\"{health}\""));
        }
    }

    #[test]
    fn health_that_is_not_defined_is_refused_with_the_words() {
        for json in ["4", "-1", "\"Healthy\"", "\"up\"", "true", "1.0", "[]", "null"] {
            let error = serde_json::from_str::<Health>(json).unwrap_err().to_string();
            let shown = json.trim_matches('"').replace("[]", "a list");
            assert!(error.starts_with(&format!("health: {shown}")) || error.contains(json), "{error}");
            assert!(error.contains("unknown, healthy, degraded, unhealthy"), "{error}");
        }
    }

    #[test]
    fn lifecycle_is_a_word() {
        for lifecycle in [Lifecycle::InService, Lifecycle::Draining, Lifecycle::Maintenance] {
            let json = serde_json::to_string(&lifecycle).unwrap();
            assert_eq!(json, format!("\"{lifecycle}\""));
            assert_eq!(serde_json::from_str::<Lifecycle>(&json).unwrap(), lifecycle);
            assert_eq!(lifecycle.as_str().parse::<Lifecycle>().unwrap(), lifecycle);
        }
        let error = "gone".parse::<Lifecycle>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "lifecycle: gone is not allowed; give one of in_service, draining, maintenance"
        );
    }
}
