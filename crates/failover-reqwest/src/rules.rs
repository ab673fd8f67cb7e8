//! The errors of reqwest.

use failover_core::Outcome;
use failover_http::HttpRules;

/// Returns the usual rules, and what reqwest knows about its own errors: whether a connection could be
/// made, a timer expired, or a redirect was refused.
pub fn reqwest_rules() -> HttpRules {
    HttpRules::new().with_errors(|error| {
        let error = error.downcast_ref::<reqwest::Error>()?;
        if error.is_redirect() || error.is_builder() {
            return Some(Outcome::Rejected);
        }
        if error.is_connect() {
            // What lies below may say that this machine is at its limit.
            let below = HttpRules::new().classify_error(error).outcome();
            return Some(if below == Outcome::Local { below } else { Outcome::NotSent });
        }
        error.is_timeout().then_some(Outcome::Timeout)
    })
}
