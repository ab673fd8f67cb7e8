//! Checks docs/coming-from-go.md: each Go name has a row, each row's item exists, and its file uses
//! it.

use std::collections::BTreeSet;

use super::files::{read, rust, shown};
use crate::cargo;

/// The names in the Go package's README: functions, types, fields, strategies, algorithms and error
/// kinds.
const NAMES: &str = "
NewFailoverManager RegisterProvider GetProvider GetDefaultProvider ListProviders GetProviderInfo
RegisterEndpoint RegisterEndpointWithProvider DeregisterEndpoint DeregisterEndpointWithProvider UpdateEndpoint
UpdateEndpointWithProvider GetEndpoint GetEndpointWithProvider ListEndpoints ListEndpointsWithProvider
SelectEndpoint SelectEndpointWithProvider ExecuteWithFailover ExecuteWithFailoverAndProvider Configure
ConfigureWithProvider GetConfig GetConfigWithProvider HealthCheck HealthCheckWithProvider HealthCheckAll
HealthCheckAllWithProvider GetStats GetEvents Close ManagerConfig ManagerConfig.DefaultProvider
ManagerConfig.RetryAttempts ManagerConfig.RetryDelay ManagerConfig.Timeout ManagerConfig.FallbackEnabled
ManagerConfig.Metadata FailoverConfig FailoverConfig.Strategy FailoverConfig.HealthCheck
FailoverConfig.MaxRetries FailoverConfig.RetryDelay FailoverConfig.CircuitBreaker FailoverConfig.LoadBalancer
FailoverConfig.Timeout FailoverConfig.Metadata CircuitBreakerConfig CircuitBreakerConfig.FailureThreshold
CircuitBreakerConfig.RecoveryTimeout CircuitBreakerConfig.HalfOpenMaxCalls CircuitBreakerConfig.SuccessThreshold
LoadBalancerConfig LoadBalancerConfig.Algorithm LoadBalancerConfig.Weights LoadBalancerConfig.Sticky
StrategyRoundRobin StrategyRandom StrategyWeighted StrategyLeastConnections StrategyHealthBased
StrategyGeographic StrategyIPHash StrategyCustom LoadBalancerRoundRobin LoadBalancerRandom LoadBalancerWeighted
LoadBalancerLeastConnections LoadBalancerIPHash ServiceEndpoint ServiceEndpoint.ID ServiceEndpoint.Name
ServiceEndpoint.Address ServiceEndpoint.Port ServiceEndpoint.Protocol ServiceEndpoint.HealthCheck
ServiceEndpoint.Metadata ServiceEndpoint.Tags ServiceEndpoint.Weight ServiceEndpoint.Priority
ServiceEndpoint.CreatedAt ServiceEndpoint.UpdatedAt HealthCheck HealthCheck.Path HealthCheck.Interval
HealthCheck.Timeout HealthCheck.Method HealthCheck.Headers HealthCheck.Body HealthStatus HealthUnknown
HealthHealthy HealthUnhealthy HealthDegraded FailoverResult FailoverResult.Endpoint FailoverResult.Result
FailoverResult.Attempts FailoverResult.Duration FailoverResult.Success FailoverResult.Error
FailoverResult.Metadata FailoverError FailoverError.Type FailoverError.Message FailoverError.Code
FailoverError.Details ErrorTypeConnection ErrorTypeValidation ErrorTypeNotFound ErrorTypeTimeout
ErrorTypeCircuitBreaker ErrorTypeInternal FailoverProvider FailoverProvider.GetName
FailoverProvider.GetSupportedFeatures FailoverProvider.GetConnectionInfo FailoverProvider.Connect
FailoverProvider.Disconnect FailoverProvider.Ping FailoverProvider.IsConnected FailoverProvider.Close Custom
";

pub(super) fn check(faults: &mut Vec<String>) -> Result<(), String> {
    let document = cargo::root().join("docs/coming-from-go.md");
    let text = read(&document)?;
    let here = shown(&document);
    let mut files = Vec::new();
    rust(&cargo::root().join("crates"), &mut files)?;
    let code = files.iter().map(|file| read(file)).collect::<Result<Vec<_>, _>>()?.concat();
    let mut missing: BTreeSet<&str> = NAMES.split_whitespace().collect();
    for row in text.lines().filter(|line| line.starts_with("| `")) {
        let [name, item, file] = row.split('`').skip(1).step_by(2).collect::<Vec<_>>()[..] else {
            faults.push(format!("{here}: a row has other than three names: {row}"));
            continue;
        };
        missing.remove(name);
        let (owner, last) = item.rsplit_once("::").unwrap_or(("", item));
        if !exists(&code, owner, last) {
            faults.push(format!("{here}: {name}: there is no `{item}`"));
        }
        match read(&cargo::root().join(file)) {
            Ok(used) if uses(&used, last) => {}
            Ok(_) => faults.push(format!("{here}: {name}: {file} does not use `{last}`")),
            Err(error) => faults.push(format!("{here}: {name}: {error}")),
        }
    }
    faults.extend(missing.into_iter().map(|name| format!("{here}: the Go name `{name}` has no row")));
    Ok(())
}

/// Returns whether an item exists: a type, or a function, field or variant of an existing type.
fn exists(code: &str, owner: &str, last: &str) -> bool {
    let is_type =
        |name: &str| ["struct", "enum", "trait"].iter().any(|kind| uses(code, &format!("pub {kind} {name}")));
    if owner.is_empty() {
        return is_type(last);
    }
    let forms =
        [format!("fn {last}("), format!("fn {last}<"), format!("pub {last}:"), format!("    {last},")];
    let variant_with_word = format!("    {last} = \"");
    is_type(owner) && (forms.iter().any(|form| code.contains(form)) || code.contains(&variant_with_word))
}

/// Returns whether a text contains a name as a whole word.
fn uses(text: &str, name: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(name).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + name.len()..].chars().next();
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_used_as_a_whole_word_and_an_item_belongs_to_a_type() {
        assert!(
            uses("manager.select()?", "select")
                && !uses("selection", "select")
                && !uses("to_select", "select")
        );
        let code = "pub struct Done<T> {\n    pub value: T,\n}\npub enum Kind {\n    Closed,\n}\npub fn select(&self)";
        assert!(exists(code, "", "Done") && exists(code, "Done", "value") && exists(code, "Kind", "Closed"));
        assert!(
            exists(code, "Done", "select") && !exists(code, "Done", "gone") && !exists(code, "Gone", "value")
        );
    }
}
