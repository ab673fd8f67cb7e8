use super::*;

fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    let field = |(name, value): &(&'static str, &'static str)| {
        (HeaderName::from_static(name), HeaderValue::from_static(value))
    };
    fields.iter().map(field).collect()
}

fn outcome(fields: &[(&'static str, &'static str)]) -> Outcome {
    let headers = headers(fields);
    GrpcRules::new().classify_code(code(&headers).expect("a status"), &headers).outcome()
}

#[test]
fn each_code_counts_as_the_table_says() {
    for (code, expected) in [
        ("0", Outcome::Success),
        ("1", Outcome::Failure),
        ("2", Outcome::Failure),
        ("3", Outcome::Rejected),
        ("4", Outcome::Timeout),
        ("5", Outcome::Rejected),
        ("6", Outcome::Rejected),
        ("7", Outcome::Rejected),
        ("8", Outcome::Overload(None)),
        ("9", Outcome::Rejected),
        ("10", Outcome::Rejected),
        ("11", Outcome::Rejected),
        ("12", Outcome::Rejected),
        ("13", Outcome::Failure),
        ("14", Outcome::Overload(None)),
        ("15", Outcome::Failure),
        ("16", Outcome::Rejected),
        ("17", Outcome::Failure),
        ("", Outcome::Failure),
        ("ok", Outcome::Failure),
        ("-1", Outcome::Failure),
    ] {
        assert_eq!(outcome(&[("grpc-status", code)]), expected, "{code}");
    }
    assert!(code(&HeaderMap::new()).is_none());
}

#[test]
fn the_timer_of_a_tonic_server_is_a_timeout_although_its_code_is_cancelled() {
    let timer = [("grpc-status", "1"), ("grpc-message", "Timeout%20expired")];
    assert_eq!(outcome(&timer), Outcome::Timeout);
    assert_eq!(outcome(&[("grpc-status", "1"), ("grpc-message", "bye")]), Outcome::Failure);
}

#[test]
fn a_number_is_a_pause_and_anything_else_forbids_another_attempt() {
    for (value, expected) in [
        ("0", Pushback::After(Duration::ZERO)),
        ("250", Pushback::After(Duration::from_millis(250))),
        ("-1", Pushback::Never),
        ("", Pushback::Never),
        ("soon", Pushback::Never),
        ("1.5", Pushback::Never),
        ("18446744073709551616", Pushback::Never),
    ] {
        assert_eq!(pushback(&headers(&[("grpc-retry-pushback-ms", value)])), Some(expected), "{value}");
    }
    assert_eq!(pushback(&HeaderMap::new()), None);
    let pause = Outcome::Overload(Some(Duration::from_millis(9)));
    let after = |code| outcome(&[("grpc-status", code), ("grpc-retry-pushback-ms", "9")]);
    assert_eq!((after("14"), after("13"), after("4")), (pause, pause, pause));
    assert_eq!((after("5"), after("0")), (Outcome::Rejected, Outcome::Success));
}

#[test]
fn a_code_of_the_users_own_replaces_the_usual_one() {
    let rules = GrpcRules::new()
        .with_code(Code::Internal, Outcome::Success)
        .with_code(Code::Internal, Outcome::Rejected);
    assert_eq!(rules.outcome(Code::Internal), Outcome::Rejected);
    assert_eq!(rules.outcome(Code::Unknown), Outcome::Failure);
}

#[test]
fn a_proxys_answer_counts_by_its_http_status() {
    let head = |status: u16| Response::builder().status(status).body(()).expect("valid");
    let rules = GrpcRules::new();
    assert_eq!(rules.classify_head(None, &head(200)), Outcome::Success);
    assert_eq!(rules.classify_head(None, &head(503)), Outcome::Overload(None));
    assert_eq!(rules.classify_head(None, &head(502)), Outcome::Failure);
    assert_eq!(rules.classify_head(None, &head(404)), Outcome::Rejected);
}

#[test]
fn what_was_not_sent_and_what_ran_out_of_time_is_told_by_the_error() {
    let io = |kind| Box::new(io::Error::from(kind)) as Box<dyn StdError + Send + Sync>;
    let timed_out = io(io::ErrorKind::TimedOut);
    let connect = tonic::ConnectError(io(io::ErrorKind::ConnectionReset));
    let own = h2::Error::from(h2::Reason::REFUSED_STREAM);
    for (error, expected) in [
        (&*timed_out as &(dyn StdError + 'static), Outcome::NotSent),
        (&connect, Outcome::NotSent),
        (&tonic::ConnectError("no TLS".into()), Outcome::NotSent),
        (&own, Outcome::Failure),
        (&tonic::TimeoutExpired(()), Outcome::Timeout),
        (&tonic::ConnectError(io(io::ErrorKind::AddrNotAvailable)), Outcome::Local),
    ] {
        assert_eq!(GrpcRules::classify_error(error).outcome(), expected, "{error}");
    }
}
