//! The wall clock, for display: no decision depends on it.

use k8s_openapi::jiff::Timestamp;

/// Returns the current time in Kubernetes' format with microseconds.
pub(crate) fn now() -> String {
    format!("{:.6}", Timestamp::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_has_microseconds_as_kubernetes_wants_them() {
        let stamp = now();
        assert_eq!(stamp.len(), "2026-11-24T12:00:00.000000Z".len(), "{stamp}");
        assert!(stamp.ends_with('Z') && stamp.as_bytes()[19] == b'.', "{stamp}");
    }
}
