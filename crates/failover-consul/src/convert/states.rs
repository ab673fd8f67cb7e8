//! Health and lifecycle from an instance's checks.

use failover_core::{Health, Lifecycle};

use crate::wire::CheckState;

/// Maintenance reason for draining.
pub(crate) const DRAINING: &str = "failover: draining";
/// Maintenance reason for maintenance by this library.
pub(crate) const MAINTENANCE: &str = "failover: maintenance";

/// Health and lifecycle, as an instance's checks claim them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claims {
    pub(crate) health: Health,
    pub(crate) lifecycle: Lifecycle,
}

/// Returns the worst status of all checks. Maintenance is also a check, but does not affect health.
///
/// Servers store any status that somebody writes to the catalog, and count a check as passing for
/// exactly one word.
pub(crate) fn claims(checks: Option<&[CheckState<'_>]>, ignore_node_checks: bool) -> Claims {
    let mut claims = Claims { health: Health::Healthy, lifecycle: Lifecycle::InService };
    for check in checks.unwrap_or_default() {
        let id = check.id.as_deref().unwrap_or_default();
        if id == "_node_maintenance" || id.starts_with("_service_maintenance:") {
            if check.notes.as_deref() != Some(DRAINING) {
                claims.lifecycle = Lifecycle::Maintenance;
            } else if claims.lifecycle == Lifecycle::InService {
                claims.lifecycle = Lifecycle::Draining;
            }
            continue;
        }
        let is_of_node = check.service_id.as_deref().unwrap_or_default().is_empty();
        if is_of_node && ignore_node_checks {
            continue;
        }
        match check.status.as_deref().unwrap_or_default() {
            "passing" => {}
            status if status.eq_ignore_ascii_case("warning") => {
                if claims.health == Health::Healthy {
                    claims.health = Health::Degraded;
                }
            }
            _ => claims.health = Health::Unhealthy,
        }
    }
    claims
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(
        id: &'static str,
        status: &'static str,
        service: &'static str,
        notes: &'static str,
    ) -> CheckState<'static> {
        CheckState {
            id: Some(id.into()),
            status: Some(status.into()),
            service_id: Some(service.into()),
            notes: Some(notes.into()),
            kind: None,
        }
    }

    #[test]
    fn checks_are_health_and_maintenance_is_none() {
        use Health::{Degraded, Healthy, Unhealthy};
        use Lifecycle::{Draining, InService, Maintenance};
        let serf = |status| check("serfHealth", status, "", "");
        let own = |status| check("service:a", status, "a", "");
        let maintenance = |reason| check("_service_maintenance:a", "critical", "a", reason);
        for (checks, ignore, health, lifecycle) in [
            (vec![], false, Healthy, InService),
            (vec![serf("passing"), own("passing")], false, Healthy, InService),
            (vec![own("warning")], false, Degraded, InService),
            (vec![own("critical"), own("warning")], false, Unhealthy, InService),
            (vec![serf("critical"), own("passing")], false, Unhealthy, InService),
            (vec![serf("critical"), own("passing")], true, Healthy, InService),
            (vec![serf("critical"), own("warning")], true, Degraded, InService),
            (vec![own("passing"), maintenance("disk")], false, Healthy, Maintenance),
            (vec![own("passing"), maintenance(DRAINING)], false, Healthy, Draining),
            (
                vec![maintenance(DRAINING), check("_node_maintenance", "critical", "", "x")],
                true,
                Healthy,
                Maintenance,
            ),
            (vec![own("Warning")], false, Degraded, InService),
            (vec![own("Critical")], false, Unhealthy, InService),
            (vec![own("fail"), own("passing")], false, Unhealthy, InService),
            (vec![own("maintenance")], false, Unhealthy, InService),
            (vec![own("Passing")], false, Unhealthy, InService),
            (vec![own("")], false, Unhealthy, InService),
            (vec![CheckState { status: None, ..own("") }], false, Unhealthy, InService),
            (vec![serf("fail"), own("passing")], true, Healthy, InService),
        ] {
            let found = claims(Some(&checks), ignore);
            assert_eq!(found, Claims { health, lifecycle }, "{checks:?}");
        }
        assert_eq!(claims(None, false).health, Healthy);
    }
}
