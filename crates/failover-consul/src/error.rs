//! Errors of responses and connections, mapped to core's table of codes.

use failover_core::{Error, ErrorKind};
use failover_provider_kit::Secret;

use crate::wire::answer::Answer;

/// The error code for servers without a leader.
pub(crate) const NO_LEADER: &str = "NO_LEADER";

/// Returns the error for a status other than success. Quotes the body if it is one short line, as
/// Consul's own errors are.
pub(crate) fn of_status(what: &str, answer: &Answer) -> Error {
    let status = answer.status;
    let said = said(&answer.body, answer.token.as_ref());
    let hint = match status {
        300..=399 => "; redirects are not followed, so that no token goes elsewhere",
        _ => "",
    };
    let message = format!("{what}: consul answered {status}{said}{hint}");
    let error = Error::from_status(status, answer.retry_after, message);
    match status {
        500..=599 if said.contains("No path to datacenter") => error.with_code("NO_PATH_TO_DATACENTER"),
        500..=599 if said.contains("No cluster leader") => error.with_code(NO_LEADER),
        _ => error,
    }
}

/// Returns the error of a registration whose connection a running agent ends.
///
/// An agent that has lost the ID of its node does (seen on 1.22.7), as long as the catalog has its old
/// node with this instance: every write of the agent is refused, and it panics over what it could not
/// delete.
pub(crate) fn turned_away(error: &Error) -> Error {
    let message = format!(
        "{error}; the agent runs and has not registered it. If this goes on, its node may have got a new ID, which its \
         log says: deregister the old node (PUT /v1/catalog/deregister {{\"Node\": NAME}})"
    );
    Error::new(error.kind(), message).with_code(error.code()).with_retry(error.retry())
}

/// Returns the text of a short body, unless it contains the token.
fn said(body: &[u8], token: Option<&Secret>) -> String {
    const LONGEST: usize = 200;
    let Ok(text) = std::str::from_utf8(body) else { return String::new() };
    let text = text.trim();
    // The query of a URL can hold a secret, with or without the URL's beginning.
    let has_query = text.contains('?');
    if text.is_empty() || text.len() > LONGEST || text.contains(['<', '\n', '{']) || has_query {
        return String::new();
    }
    match token {
        Some(token) if text.contains(token.expose()) => String::new(),
        _ => format!(": {text}"),
    }
}

/// Returns the error for unexpected JSON.
pub(crate) fn of_json(what: &str, error: &serde_json::Error) -> Error {
    Error::bad_answer(what, json(error))
}

/// Describes where JSON is not as expected, without quoting it as the parser's message does.
pub(crate) fn json(error: &serde_json::Error) -> String {
    use serde_json::error::Category;

    let why = match error.classify() {
        Category::Eof => "it ends in the middle",
        Category::Data => "it is not the JSON that was expected",
        Category::Syntax | Category::Io => "it is not JSON",
    };
    format!("{why}, line {} column {}", error.line(), error.column())
}

/// Returns the error for a field that Consul cannot store.
pub(crate) fn unsupported(field: &str, why: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("{field}: {why}")).with_detail("field", field)
}

pub(crate) fn closed() -> Error {
    Error::closed("consul")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use failover_core::{RetryAdvice, codes};

    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        let token = Secret::parse("canary", "token").expect("valid");
        Answer { status, body: body.into(), token, ..Answer::default() }
    }

    #[test]
    fn a_status_says_what_the_caller_can_do() {
        for (status, body, kind, code) in [
            (301, "", ErrorKind::Connection, "REDIRECTED"),
            (400, "Invalid", ErrorKind::Validation, "REFUSED"),
            (403, "ACL not found", ErrorKind::Permission, "PERMISSION_DENIED"),
            (404, "", ErrorKind::NotFound, "NOT_FOUND"),
            (413, "", ErrorKind::Validation, "TOO_LARGE"),
            (401, "", ErrorKind::Permission, codes::UNAUTHENTICATED),
            (409, "", ErrorKind::Conflict, codes::CONFLICT),
            (429, "", ErrorKind::Connection, codes::RATE_LIMITED),
            (504, "", ErrorKind::Timeout, codes::TIMEOUT),
            (500, "rpc error making call: EOF", ErrorKind::Connection, codes::SERVER_ERROR),
            (500, "No path to datacenter", ErrorKind::Connection, "NO_PATH_TO_DATACENTER"),
            (500, "No cluster leader", ErrorKind::Connection, "NO_LEADER"),
            (503, "", ErrorKind::Connection, codes::SERVER_ERROR),
        ] {
            let error = of_status("asking", &answer(status, body));
            assert_eq!((error.kind(), error.code()), (kind, code), "{status} {body}");
            assert!(error.to_string().contains(&status.to_string()), "{error}");
        }
    }

    #[test]
    fn pages_long_texts_and_tokens_are_not_shown() {
        let query = "Get http://10.0.0.1/health?key=secret: refused";
        let path = "Invalid check: /health?key=secret";
        for body in ["<html>502</html>", &"x".repeat(500), "bad token canary", "{\"a\":1}", query, path] {
            let error = of_status("asking", &answer(500, body)).to_string();
            assert_eq!(error, "asking: consul answered 500");
        }
        let error = of_status("asking", &answer(500, "rpc error")).to_string();
        assert_eq!(error, "asking: consul answered 500: rpc error");
    }

    #[test]
    fn retry_after_is_reported() {
        let late = Answer { retry_after: Some(Duration::from_secs(7)), ..answer(429, "") };
        assert_eq!(of_status("asking", &late).retry(), RetryAdvice::After(Duration::from_secs(7)));
    }
}
