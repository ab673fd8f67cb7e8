//! Errors of the API server and of the connection to it, mapped to core's table of codes.
//!
//! kube's messages are dropped if they can contain a secret: the output of a credentials plugin, or
//! an unreadable part of a kubeconfig.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use failover_core::{Error, ErrorKind, codes};
use kube::config::{KubeconfigError, LoadDataError};
use serde_json::Value;

/// The detail with the HTTP status, or with the code of an error in a watch.
const STATUS: &str = "status";
/// The detail of a refused connection.
const GONE: &str = "refused";
/// The detail of a connection that was accepted and then broke, without an answer.
const LOST: &str = "lost";
/// The maximum length of a server's message that is passed on.
const SHOWN: usize = 400;

/// Returns the error for an unsuccessful response: its HTTP status, `Retry-After` in seconds, and
/// body.
pub(crate) fn refused(what: &str, code: u16, retry_after: Option<u64>, body: &[u8]) -> Error {
    match serde_json::from_slice::<Value>(body) {
        Ok(status) if status.get("kind").and_then(Value::as_str) == Some("Status") => {
            of_status(what, code, retry_after, &status)
        }
        _ => {
            // A proxy's response, or the plain text of an overloaded server.
            let text = String::from_utf8_lossy(&body[..body.len().min(SHOWN)]);
            let text = if text.trim_start().starts_with('<') { "a page of HTML" } else { text.trim() };
            build(what, code, "", text, retry_after)
        }
    }
}

/// Returns the error for a `Status` object, from a response or a watch.
pub(crate) fn of_status(what: &str, code: u16, retry_after: Option<u64>, status: &Value) -> Error {
    let text = |key: &str| status.get(key).and_then(Value::as_str).unwrap_or_default();
    let code =
        status.get("code").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok()).unwrap_or(code);
    let details = status.get("details");
    let asked = details.and_then(|details| details.get("retryAfterSeconds")).and_then(Value::as_u64);
    let causes = details.and_then(|details| details.get("causes")).and_then(Value::as_array);
    let too_large = causes
        .into_iter()
        .flatten()
        .any(|cause| cause.get("reason").and_then(Value::as_str) == Some("ResourceVersionTooLarge"));
    // Like an expired version, it requires a list without a version.
    let reason = if too_large { "ResourceVersionTooLarge" } else { text("reason") };
    build(what, code, reason, text("message"), retry_after.or(asked.filter(|seconds| *seconds > 0)))
}

fn build(what: &str, code: u16, reason: &str, text: &str, retry_after: Option<u64>) -> Error {
    let shown: String = text.chars().take(SHOWN).collect();
    let said = if shown.is_empty() { reason } else { &shown };
    let message = format!("{what}: the API server answers {code}: {said}");
    let error = if code == 410 {
        // The server refuses the version, not the request: a new list is the remedy.
        Error::new(ErrorKind::Connection, message).with_code("VERSION_EXPIRED").with_detail(STATUS, code)
    } else {
        Error::from_status(code, retry_after.map(Duration::from_secs), message)
    };
    let is_ending = code == 403 && text.contains("being terminated");
    let error = if is_ending { error.with_code("NAMESPACE_TERMINATING") } else { error };
    if reason.is_empty() { error } else { error.with_detail("reason", reason) }
}

/// Returns the HTTP status, if the API server responded.
pub(crate) fn status(error: &Error) -> Option<u16> {
    error.details().get(STATUS).and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok())
}

/// Returns whether the server refused the connection.
pub(crate) fn is_gone(error: &Error) -> bool {
    error.details().contains_key(GONE)
}

/// Returns whether something accepted the connection and broke it without an answer, as a load
/// balancer without a server behind it does.
pub(crate) fn is_lost(error: &Error) -> bool {
    error.details().contains_key(LOST)
}

/// Returns whether the credentials were refused, or could not be loaded.
pub(crate) fn is_unauthenticated(error: &Error) -> bool {
    status(error) == Some(401) || error.code() == codes::UNAUTHENTICATED
}

/// Returns whether the watch can continue only after a new list.
pub(crate) fn wants_list(error: &Error) -> bool {
    status(error) == Some(410)
        || error.details().get("reason").and_then(Value::as_str) == Some("ResourceVersionTooLarge")
}

/// Returns the error of a request without a response.
pub(crate) fn of_kube(what: &str, error: &kube::Error) -> Error {
    match error {
        // A failed token renewal is reported as an error of the service.
        error if is_of_credentials(error) => {
            // Its message can contain the plugin's output.
            Error::no_credentials(what, "cannot load credentials from the configured source")
        }
        kube::Error::InferKubeconfig(error) => of_kubeconfig("kubeconfig", error),
        kube::Error::RustlsTls(error) => {
            Error::new(ErrorKind::Validation, format!("{what}: its certificates cannot be used: {error}"))
        }
        kube::Error::HyperError(error) => unreachable_server(what, error),
        kube::Error::Service(error) => unreachable_server(what, &**error),
        other => Error::new(ErrorKind::Connection, format!("{what}: {}", short(other))),
    }
}

fn is_of_credentials(error: &kube::Error) -> bool {
    let mut next: Option<&(dyn StdError + 'static)> = match error {
        kube::Error::Auth(_) => return true,
        kube::Error::Service(error) => Some(&**error),
        _ => None,
    };
    while let Some(error) = next {
        if error.is::<kube::client::AuthError>() {
            return true;
        }
        next = error.source();
    }
    false
}

fn unreachable_server(what: &str, error: &(dyn StdError + 'static)) -> Error {
    // The outermost message is "client error"; the cause is at the end of the chain.
    let mut chain: Vec<String> = Vec::new();
    let (mut connects, mut is_refused, mut is_tls, mut is_late) = (false, false, false, false);
    let mut next = Some(error);
    while let (Some(error), true) = (next, chain.len() < 8) {
        connects |= error.downcast_ref().is_some_and(hyper_util::client::legacy::Error::is_connect);
        is_tls |= error.is::<rustls::Error>();
        let io = error.downcast_ref::<io::Error>();
        is_refused |= io.is_some_and(|io| io.kind() == io::ErrorKind::ConnectionRefused);
        is_late |= io.is_some_and(|io| io.kind() == io::ErrorKind::TimedOut);
        let text = error.to_string();
        if !chain.contains(&text) {
            chain.push(text);
        }
        // An I/O error does not list the error that it wraps among its sources.
        let wrapped = io.and_then(io::Error::get_ref).map(|error| error as &(dyn StdError + 'static));
        next = wrapped.or_else(|| error.source());
    }
    let text: String = chain.join(": ").chars().take(SHOWN).collect();
    if is_tls {
        return Error::tls(what, text);
    }
    let error = if connects {
        Error::unreachable(what, format_args!("the API server cannot be reached: {text}"))
    } else {
        Error::connection_lost(what, format_args!("the connection to the API server broke: {text}"))
    };
    match (is_refused, is_late) {
        (true, _) => error.with_detail(GONE, true),
        (false, true) => error,
        (false, false) => error.with_detail(LOST, true),
    }
}

/// Describes what is wrong with a kubeconfig, which `what` names, without its content.
pub(crate) fn of_kubeconfig(what: &str, error: &KubeconfigError) -> Error {
    let unread = |name: &str, error: &LoadDataError| match error {
        LoadDataError::ReadFile(error, file) => {
            format!("its {name} {} cannot be read: {error}", file.display())
        }
        _ => format!("its {name} is not base64"),
    };
    let why = match error {
        KubeconfigError::Parse(_) => "it is not YAML of the form of a kubeconfig".to_owned(),
        KubeconfigError::ReadConfig(error, _) => format!("it cannot be read: {error}"),
        KubeconfigError::MissingClusterUrl => "its cluster names no server".to_owned(),
        KubeconfigError::LoadCertificateAuthority(error) => unread("certificate-authority", error),
        KubeconfigError::LoadClientCertificate(error) => unread("client-certificate", error),
        KubeconfigError::LoadClientKey(error) => unread("client-key", error),
        KubeconfigError::ParseCertificates(_) => "its certificates are not PEM".to_owned(),
        KubeconfigError::ParseClusterUrl(_) => "the server's URL cannot be read".to_owned(),
        KubeconfigError::ParseProxyUrl(_) => "the proxy's URL cannot be read".to_owned(),
        other => short(other),
    };
    Error::new(ErrorKind::Validation, format!("{what}: {why}"))
}

fn short(error: &dyn std::fmt::Display) -> String {
    error.to_string().chars().take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use failover_core::{RetryAdvice, codes};
    use serde_json::json;

    use super::*;

    #[test]
    fn each_status_has_its_kind() {
        for (status_code, kind, code) in [
            (400, ErrorKind::Validation, codes::REFUSED),
            (401, ErrorKind::Permission, codes::UNAUTHENTICATED),
            (403, ErrorKind::Permission, codes::PERMISSION_DENIED),
            (404, ErrorKind::NotFound, codes::NOT_FOUND),
            (409, ErrorKind::Conflict, codes::CONFLICT),
            (410, ErrorKind::Connection, "VERSION_EXPIRED"),
            (413, ErrorKind::Validation, codes::TOO_LARGE),
            (422, ErrorKind::Validation, codes::REFUSED),
            (429, ErrorKind::Connection, codes::RATE_LIMITED),
            (500, ErrorKind::Connection, codes::SERVER_ERROR),
            (503, ErrorKind::Connection, codes::SERVER_ERROR),
            (504, ErrorKind::Timeout, codes::TIMEOUT),
        ] {
            let error = refused("list", status_code, None, b"");
            assert_eq!((error.kind(), error.code()), (kind, code), "{error}");
            assert_eq!(status(&error), Some(status_code), "{error}");
        }
    }

    /// F32: an HTML page from a proxy.
    #[test]
    fn a_page_of_html_is_a_passing_fault_and_is_not_shown() {
        let error = refused("list", 502, None, b"<html><body>Bad gateway</body></html>");
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Connection, RetryAdvice::Backoff));
        assert_eq!(error.to_string(), "list: the API server answers 502: a page of HTML");
    }

    #[test]
    fn a_requested_wait_is_honoured_from_the_header_and_from_the_body_and_has_a_bound() {
        let body = json!({"kind": "Status", "code": 503, "details": {"retryAfterSeconds": 3}}).to_string();
        let waits = |error: &Error| match error.retry() {
            RetryAdvice::After(time) => time.as_secs(),
            _ => 0,
        };
        assert_eq!(waits(&refused("list", 429, Some(2), b"Too many requests")), 2);
        assert_eq!(waits(&refused("list", 503, None, body.as_bytes())), 3);
        assert_eq!(waits(&refused("list", 503, Some(86_400), b"")), 300);
        assert_eq!(waits(&refused("list", 500, Some(5), b"")), 0);
    }

    #[test]
    fn what_only_a_new_list_can_mend_is_distinguished() {
        let too_large = json!({"kind": "Status", "code": 504, "reason": "Timeout", "message": "Too large resource version",
            "details": {"causes": [{"reason": "ResourceVersionTooLarge"}], "retryAfterSeconds": 1}});
        assert!(wants_list(&refused("watch", 504, None, too_large.to_string().as_bytes())));
        assert!(wants_list(&refused("watch", 410, None, b"")));
        assert!(!wants_list(&refused("watch", 504, None, b"")));
        assert!(!wants_list(&refused("watch", 503, None, b"")));
    }

    #[test]
    fn a_long_text_is_cut_and_a_bad_kubeconfig_is_not_shown() {
        let long = json!({"kind": "Status", "code": 422, "message": "x".repeat(10_000)}).to_string();
        assert!(refused("register", 422, None, long.as_bytes()).to_string().len() < 600);
        let broken = kube::config::Kubeconfig::from_yaml("users: [{name: a, user: {token: hunter2, }}, }")
            .expect_err("broken");
        let error = of_kubeconfig("kubeconfig", &broken);
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }

    /// The output of a plugin that fails during a token renewal may be the token.
    #[test]
    fn what_a_credentials_plugin_printed_is_not_shown() {
        let failed = || kube::client::AuthError::AuthExec("it printed hunter2".to_owned());
        for error in [kube::Error::Auth(failed()), kube::Error::Service(Box::new(failed()))] {
            let error = of_kube("list", &error);
            assert!(!format!("{error:?} {error}").contains("hunter2"), "{error}");
            assert_eq!((error.kind(), error.code()), (ErrorKind::Permission, codes::UNAUTHENTICATED));
        }
    }
}
