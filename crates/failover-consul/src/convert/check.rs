//! An endpoint's health check.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use failover_core::probe::ProbeTarget;
use failover_core::{Endpoint, Error, Health, HealthCheck};

use crate::error::unsupported;
use crate::settings::Settings;
use crate::wire::Check;

/// The statuses that pass in an HTTP check of an agent.
const AGENT_EXPECTS: RangeInclusive<u16> = 200..=299;

/// Returns the id of the only check of an instance registered by this library.
pub(crate) fn has_check(id: &str) -> String {
    format!("service:{id}")
}

/// Returns Consul's status for a health; there is none for unknown.
pub(crate) fn status_of(health: Health) -> Option<&'static str> {
    match health {
        Health::Healthy => Some("passing"),
        Health::Degraded => Some("warning"),
        Health::Unhealthy => Some("critical"),
        _ => None,
    }
}

/// Returns a check by the agent that suits the endpoint's protocol, or one with a time to live if
/// the endpoint has no health check.
pub(super) fn check(endpoint: &Endpoint, id: &str, settings: &Settings) -> Result<Check, Error> {
    let base = Check {
        id: has_check(id),
        name: format!("service {} check", endpoint.service()),
        // A new endpoint starts as passing; its check corrects that within one interval.
        status: "passing".to_owned(),
        deregister_critical_service_after: settings.deregister_after.map(go),
        ..Check::default()
    };
    let Some(asked) = endpoint.health_check().filter(|_| settings.agent_checks) else {
        return Ok(Check { ttl: Some(go(settings.ttl)), ..base });
    };
    let base = Check {
        interval: Some(go(asked.interval())),
        timeout: Some(go(asked.timeout())),
        success_before_passing: Some(asked.healthy_threshold()),
        failures_before_critical: Some(asked.unhealthy_threshold()),
        ..base
    };
    refuse_lost(endpoint.protocol(), asked)?;
    let probed = ProbeTarget::new(endpoint.clone()).authority();
    match endpoint.protocol() {
        "http" | "https" => http(endpoint, &probed, asked, base, settings),
        "grpc" | "grpcs" => Ok(Check {
            grpc: Some(format!("{probed}{}", service_path(asked.grpc_service().unwrap_or(asked.path())))),
            grpc_tls: (endpoint.protocol() == "grpcs").then_some(true),
            tls_server_name: endpoint
                .server_name()
                .filter(|_| endpoint.protocol() == "grpcs")
                .map(str::to_owned),
            ..base
        }),
        _ => Ok(Check { tcp: Some(probed), ..base }),
    }
}

/// Refuses settings for which the agent's check of this protocol has no place.
///
/// # Errors
///
/// Returns `Unsupported`, naming the first such field.
fn refuse_lost(protocol: &str, asked: &HealthCheck) -> Result<(), Error> {
    let plain = HealthCheck::default();
    let is_http = matches!(protocol, "http" | "https");
    let is_grpc = matches!(protocol, "grpc" | "grpcs");
    let has_path = asked.path() != plain.path();
    // In a gRPC check, the path names the service where nothing else does.
    let loses_path = if is_grpc { asked.grpc_service().is_some() && has_path } else { !is_http && has_path };
    let kind = match protocol {
        _ if is_http => "HTTP",
        _ if is_grpc => "gRPC",
        _ => "TCP",
    };
    for (field, is_lost) in [
        ("path", loses_path),
        ("method", !is_http && asked.method() != plain.method()),
        ("headers", !is_http && !asked.headers().is_empty()),
        ("body", !is_http && asked.body().is_some()),
        ("expected_statuses", !is_http && !asked.expected_statuses().is_empty()),
        ("grpc_service", !is_grpc && asked.grpc_service().is_some()),
    ] {
        if is_lost {
            let why = format!(
                "the agent checks an endpoint of protocol {protocol} by {kind}, and has no place for it; another protocol of the \
                 endpoint, or agent_checks(false), helps"
            );
            return Err(unsupported(&format!("health_check.{field}"), &why));
        }
    }
    Ok(())
}

fn http(
    endpoint: &Endpoint,
    probed: &str,
    asked: &HealthCheck,
    base: Check,
    settings: &Settings,
) -> Result<Check, Error> {
    if asked.expected_statuses().iter().any(|statuses| *statuses != AGENT_EXPECTS) {
        let why = "a check of the agent expects 200 to 299, and has no setting for it; agent_checks(false) does \
                   without one";
        return Err(unsupported("health_check.expected_statuses", why));
    }
    let open = asked.without_secrets();
    if !settings.secret_headers && (asked.body() != open.body() || asked.headers() != open.headers()) {
        let field = if asked.body() == open.body() { "health_check.headers" } else { "health_check.body" };
        let why = "it can be secret, and the agent would have to keep it; store_secret_headers allows that, and \
                   agent_checks(false) does without a check of the agent";
        return Err(unsupported(field, why));
    }
    let mut header: BTreeMap<_, _> =
        asked.headers().iter().map(|(name, value)| (name.clone(), vec![value.clone()])).collect();
    if let Some(name) = endpoint.server_name() {
        if !header.keys().any(|key| key.eq_ignore_ascii_case("host")) {
            header.insert("Host".to_owned(), vec![name.to_owned()]);
        }
    }
    Ok(Check {
        http: Some(format!("{}://{probed}{}", endpoint.protocol(), asked.path())),
        method: Some(asked.method().to_owned()),
        tls_server_name: endpoint.server_name().filter(|_| endpoint.protocol() == "https").map(str::to_owned),
        header,
        body: asked.body().map(str::to_owned),
        ..base
    })
}

/// Returns the path of the service that a gRPC check names; empty for the whole server.
fn service_path(path: &str) -> String {
    let service = path.trim_matches('/');
    if service.is_empty() { String::new() } else { format!("/{service}") }
}

/// Formats a duration in Go's notation.
fn go(time: Duration) -> String {
    format!("{}ms", time.as_millis())
}
