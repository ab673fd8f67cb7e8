use std::time::Duration;

use http::HeaderValue;

use super::*;

fn response(status: u16, headers: &[(&'static str, &'static str)]) -> Response<()> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(()).expect("a response")
}

#[derive(Debug, PartialEq, Eq)]
struct Wrapped<E>(E);

impl<E> fmt::Display for Wrapped<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("client error")
    }
}

impl<E: StdError + 'static> StdError for Wrapped<E> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.0)
    }
}

#[test]
fn a_status_counts_as_usual_and_retry_after_only_where_it_means_a_pause() {
    let rules = HttpRules::new();
    let after = [("retry-after", "7")];
    let pause = Some(Duration::from_secs(7));
    for (status, expected) in [
        (200, Outcome::Success),
        (302, Outcome::Success),
        (404, Outcome::Rejected),
        (408, Outcome::Failure),
        (421, Outcome::NotSent),
        (429, Outcome::Overload(pause)),
        (500, Outcome::Failure),
        (503, Outcome::Overload(pause)),
        (504, Outcome::Failure),
    ] {
        let classified = rules.classify_response(&response(status, &after));
        assert_eq!(classified, expected, "{status}");
        let reason = (expected != Outcome::Success).then(|| status.to_string());
        assert_eq!(classified.reason(), reason.as_deref());
    }
    assert_eq!(rules.classify_response(&response(503, &[])), Outcome::Overload(None));
    assert_eq!(rules.classify_response(&response(503, &[("retry-after", "soon")])), Outcome::Overload(None));
}

#[test]
fn a_status_can_count_as_something_else_and_the_last_word_holds() {
    let rules = HttpRules::new()
        .with_status(StatusCode::CONFLICT, Outcome::Rejected)
        .with_status(StatusCode::CONFLICT, Outcome::Failure)
        .with_status(StatusCode::INTERNAL_SERVER_ERROR, Outcome::Success)
        .with_status(StatusCode::GATEWAY_TIMEOUT, Outcome::Overload(None));
    assert_eq!(rules.classify_response(&response(409, &[])), Outcome::Failure);
    assert_eq!(rules.classify_response(&response(500, &[])), Outcome::Success);
    let pause = Outcome::Overload(Some(Duration::from_secs(3)));
    assert_eq!(rules.classify_response(&response(504, &[("retry-after", "3")])), pause);
    assert_eq!(HttpRules::new().classify_response(&response(409, &[])), Outcome::Rejected, "not shared");
}

#[test]
fn an_error_is_what_the_io_error_below_it_says() {
    let rules = HttpRules::new();
    for (kind, expected) in [
        (io::ErrorKind::ConnectionRefused, Outcome::NotSent),
        (io::ErrorKind::TimedOut, Outcome::Timeout),
        (io::ErrorKind::AddrNotAvailable, Outcome::Local),
        (io::ErrorKind::ConnectionReset, Outcome::Failure),
        (io::ErrorKind::BrokenPipe, Outcome::Failure),
        (io::ErrorKind::UnexpectedEof, Outcome::Failure),
        (io::ErrorKind::Other, Outcome::Failure),
    ] {
        assert_eq!(rules.classify_error(&io::Error::from(kind)), expected, "{kind}");
        let wrapped = Wrapped(Wrapped(io::Error::from(kind)));
        assert_eq!(rules.classify_error(&wrapped), expected, "{kind}, wrapped");
    }
    let inside = io::Error::other(Wrapped(io::Error::from(io::ErrorKind::ConnectionRefused)));
    assert_eq!(rules.classify_error(&inside), Outcome::NotSent, "an error in an I/O error");
    let direct = io::Error::other(io::Error::from(io::ErrorKind::ConnectionRefused));
    assert_eq!(rules.classify_error(&direct), Outcome::NotSent, "an I/O error in an I/O error");
    let reason = rules.classify_error(&Wrapped(io::Error::from(io::ErrorKind::ConnectionRefused)));
    assert_eq!(reason.reason(), Some("client error: connection refused"));
}

#[cfg(unix)]
#[test]
fn a_machine_without_descriptors_is_not_the_fault_of_an_endpoint() {
    let rules = HttpRules::new();
    for code in NO_DESCRIPTORS {
        let error = Wrapped(io::Error::from_raw_os_error(code));
        assert_eq!(rules.classify_error(&error), Outcome::Local, "{code}");
    }
}

#[test]
fn a_transport_knows_its_own_errors_better() {
    let rules = HttpRules::new()
        .with_errors(|error| error.downcast_ref::<Wrapped<io::Error>>().map(|_| Outcome::NotSent));
    let broken = || io::Error::from(io::ErrorKind::TimedOut);
    assert_eq!(rules.classify_error(&Wrapped(broken())), Outcome::NotSent);
    assert_eq!(rules.classify_error(&broken()), Outcome::Timeout, "others are seen as usual");
}

#[test]
fn idempotent_are_the_methods_of_the_standard_and_requests_with_a_key() {
    let rules = HttpRules::new();
    let none = HeaderMap::new();
    for (method, expected) in [
        (Method::GET, true),
        (Method::HEAD, true),
        (Method::OPTIONS, true),
        (Method::TRACE, true),
        (Method::PUT, true),
        (Method::DELETE, true),
        (Method::POST, false),
        (Method::PATCH, false),
        (Method::CONNECT, false),
        (Method::from_bytes(b"get").expect("a method"), false),
        (Method::from_bytes(b"QUERY").expect("a method"), false),
    ] {
        assert_eq!(rules.is_idempotent(&method, &none), expected, "{method}");
    }
    for (key, expected) in [("8e03978e", true), ("", false), (" ", false)] {
        let headers: HeaderMap = [(IDEMPOTENCY_KEY, HeaderValue::from_static(key))].into_iter().collect();
        assert_eq!(rules.is_idempotent(&Method::POST, &headers), expected, "{key:?}");
    }
    let query = Method::from_bytes(b"QUERY").expect("a method");
    assert!(rules.with_idempotent_method(query.clone()).is_idempotent(&query, &none));
}

#[test]
fn the_rules_classify_the_replies_of_a_handle() {
    fn is_classifier<T, E>(_: impl Classify<T, E> + Clone + Send + Sync + 'static) {}
    is_classifier::<Response<Vec<u8>>, io::Error>(HttpRules::new());
    let reply: Result<Response<()>, io::Error> = Err(io::ErrorKind::ConnectionRefused.into());
    assert_eq!(HttpRules::new().classify(reply.as_ref()), Outcome::NotSent);
}
