//! What went wrong with a request, in the words of the contract.

use std::io;
use std::time::Duration;

use failover_core::{Error, ErrorKind, RetryAdvice};
use rustls::{AlertDescription as Alert, CertificateError as Of};

use crate::wire::answer::Answer;
use failover_provider_kit::Secret;

/// The code of an error that says that no connection could be made.
pub(crate) const NOBODY_LISTENS: &str = "CONNECTION_ERROR";

/// A status that is no success. The text of the answer is told where it is one short line, as Consul's own are.
pub(crate) fn of_status(what: &str, answer: &Answer) -> Error {
    let status = answer.status;
    let said = said(&answer.body, answer.token.as_ref());
    let (kind, code) = match status {
        300..=399 => (ErrorKind::Connection, "REDIRECTED"),
        401 | 403 => (ErrorKind::Permission, "PERMISSION_DENIED"),
        404 => (ErrorKind::NotFound, "NOT_FOUND"),
        409 => (ErrorKind::Conflict, "CONFLICT"),
        413 => (ErrorKind::Validation, "TOO_LARGE"),
        429 => (ErrorKind::Connection, "RATE_LIMITED"),
        400..=499 => (ErrorKind::Validation, "REFUSED"),
        _ if said.contains("No path to datacenter") => (ErrorKind::Connection, "NO_PATH_TO_DATACENTER"),
        _ if said.contains("No cluster leader") => (ErrorKind::Connection, "NO_LEADER"),
        _ => (ErrorKind::Connection, "SERVER_ERROR"),
    };
    let hint = if kind == ErrorKind::Connection && code == "REDIRECTED" {
        "; redirects are not followed, so that no token goes elsewhere"
    } else {
        ""
    };
    let error = Error::new(kind, format!("{what}: consul answered {status}{said}{hint}"))
        .with_code(code)
        .with_detail("status", status);
    match answer.retry_after {
        Some(after) => error.with_retry(RetryAdvice::After(after)),
        None => error,
    }
}

/// What a short answer of plain text says, without the token if it should stand there.
fn said(body: &[u8], token: Option<&Secret>) -> String {
    const LONGEST: usize = 200;
    let Ok(text) = std::str::from_utf8(body) else { return String::new() };
    let text = text.trim();
    if text.is_empty() || text.len() > LONGEST || text.contains(['<', '\n', '{']) {
        return String::new();
    }
    match token {
        Some(token) if text.contains(token.expose()) => String::new(),
        _ => format!(": {text}"),
    }
}

/// A request that got no answer, or not a whole one. What `connects` says is that nothing was sent.
pub(crate) fn of_transport(what: &str, error: &(dyn std::error::Error + 'static), connects: bool) -> Error {
    let (mut cause, mut is_canceled) = (error, false);
    loop {
        is_canceled |= cause.downcast_ref().is_some_and(hyper::Error::is_canceled);
        if let Some(tls) = cause.downcast_ref() {
            return Error::new(ErrorKind::Connection, format!("{what}: {}", of_tls(tls)))
                .with_code("TLS_ERROR");
        }
        // An error of I/O shows what is in it, and does not count it among its sources.
        match cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(held) => cause = held,
            None => match cause.source() {
                Some(deeper) => cause = deeper,
                None => break,
            },
        }
    }
    let code = if connects { NOBODY_LISTENS } else { "CONNECTION_LOST" };
    // With TLS 1.3 a server refuses a client's certificate when that takes the connection for made; what it says of that may be
    // lost.
    let hint = if is_canceled {
        "; the server closed the connection at once, as one does that refuses this client's certificate"
    } else {
        ""
    };
    Error::new(ErrorKind::Connection, format!("{what}: {cause}{hint}")).with_code(code)
}

/// What is wrong between the two ends, who has to mend it, and what rustls says of it.
fn of_tls(error: &rustls::Error) -> String {
    let why = match error {
        rustls::Error::InvalidCertificate(of_server) => match of_server {
            Of::Expired | Of::ExpiredContext { .. } => {
                "the server's certificate has expired; it needs a new one, if the clock here is right"
            }
            Of::NotValidYet | Of::NotValidYetContext { .. } => {
                "the server's certificate is not valid yet, if the clock here is right"
            }
            Of::NotValidForName | Of::NotValidForNameContext { .. } => {
                "the server's certificate is for another name than that of the address"
            }
            Of::UnknownIssuer => {
                "the server's certificate is of no authority that is trusted; its file can be given with ca_file"
            }
            _ => "the server's certificate cannot be trusted",
        },
        rustls::Error::AlertReceived(of_client) => match of_client {
            Alert::CertificateExpired => "the server refuses this client's certificate, which has expired",
            Alert::UnknownCA => "the server does not trust the authority of this client's certificate",
            Alert::CertificateRequired => {
                "the server asks for a certificate of this client; give it with client_certificate"
            }
            Alert::BadCertificate | Alert::CertificateUnknown | Alert::UnsupportedCertificate => {
                "the server refuses this client's certificate, or that there is none (client_certificate)"
            }
            Alert::ProtocolVersion => "the server speaks no version of TLS that is safe",
            _ => "the server ends TLS",
        },
        rustls::Error::PeerIncompatible(_) => "the server speaks no TLS that is safe",
        rustls::Error::InvalidMessage(_) => "the server does not speak TLS; is this a port for http?",
        _ => "TLS",
    };
    format!("{why}: {error}")
}

pub(crate) fn of_time(what: &str, limit: Duration) -> Error {
    Error::new(ErrorKind::Timeout, format!("{what}: no whole answer in {limit:?}"))
}

pub(crate) fn of_size(what: &str, limit: usize) -> Error {
    let message = format!("{what}: the answer is larger than {limit} bytes (answer_bytes)");
    Error::new(ErrorKind::Validation, message).with_code("TOO_LARGE")
}

/// An answer with a good status that cannot be read. It is not shown.
pub(crate) fn of_content(what: &str, why: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Connection, format!("{what}: the answer cannot be read: {why}"))
        .with_code("BAD_ANSWER")
}

/// As [`of_content`], for JSON.
pub(crate) fn of_json(what: &str, error: &serde_json::Error) -> Error {
    of_content(what, json(error))
}

/// Where JSON is not as expected. The parser's own words show what stands there, however long that is.
pub(crate) fn json(error: &serde_json::Error) -> String {
    use serde_json::error::Category;

    let why = match error.classify() {
        Category::Eof => "it ends in the middle",
        Category::Data => "it is other JSON than was asked for",
        Category::Syntax | Category::Io => "it is no JSON",
    };
    format!("{why}, line {} column {}", error.line(), error.column())
}

/// A field that Consul cannot store.
pub(crate) fn unsupported(field: &str, why: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("{field}: {why}")).with_detail("field", field)
}

pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Shutdown, "the consul provider is closed; connect opens it again")
}

/// Whether a request may have been done although its error says that nobody knows.
pub(crate) fn is_unknown_outcome(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Timeout) || error.code() == "CONNECTION_LOST"
}

#[cfg(test)]
mod tests {
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
            (429, "", ErrorKind::Connection, "RATE_LIMITED"),
            (500, "rpc error making call: EOF", ErrorKind::Connection, "SERVER_ERROR"),
            (500, "No path to datacenter", ErrorKind::Connection, "NO_PATH_TO_DATACENTER"),
            (500, "No cluster leader", ErrorKind::Connection, "NO_LEADER"),
            (503, "", ErrorKind::Connection, "SERVER_ERROR"),
        ] {
            let error = of_status("asking", &answer(status, body));
            assert_eq!((error.kind(), error.code()), (kind, code), "{status} {body}");
            assert!(error.to_string().contains(&status.to_string()), "{error}");
        }
    }

    #[test]
    fn pages_long_texts_and_tokens_are_not_told() {
        for body in ["<html>502</html>", &"x".repeat(500), "bad token canary", "{\"a\":1}"] {
            let error = of_status("asking", &answer(500, body)).to_string();
            assert_eq!(error, "asking: consul answered 500");
        }
        let error = of_status("asking", &answer(500, "rpc error")).to_string();
        assert_eq!(error, "asking: consul answered 500: rpc error");
    }

    #[test]
    fn retry_after_is_told() {
        let late = Answer { retry_after: Some(Duration::from_secs(7)), ..answer(429, "") };
        assert_eq!(of_status("asking", &late).retry(), RetryAdvice::After(Duration::from_secs(7)));
    }
}
