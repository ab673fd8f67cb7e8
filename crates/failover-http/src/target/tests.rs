use super::*;

fn endpoint(protocol: &str, address: &str, server_name: Option<&str>) -> Endpoint {
    let mut builder = Endpoint::builder("users-1", "users", address, 8080).protocol(protocol);
    if let Some(name) = server_name {
        builder = builder.server_name(name);
    }
    builder.build().expect("valid")
}

fn parsed(uri: &str) -> Uri {
    uri.parse().expect("a URI")
}

#[test]
fn a_url_names_a_service_by_its_host() {
    for (uri, name) in [
        ("http://user-service", "user-service"),
        ("http://user-service/users/7?a=b", "user-service"),
        ("https://User_Service.v2/", "User_Service.v2"),
        ("user-service", "user-service"),
        ("http://10.0.0.1/", "10.0.0.1"),
    ] {
        assert_eq!(service_name(&parsed(uri)).expect(uri), name);
    }
}

#[test]
fn a_url_with_more_than_a_name_is_an_error_that_says_what_to_write() {
    let error = |uri: &str| service_name(&parsed(uri)).expect_err(uri);
    for uri in ["/users/7", "/", "*"] {
        assert!(matches!(error(uri), TargetError::NoName), "{uri}");
    }
    for (uri, port) in [
        ("http://user-service:8080/users", "8080"),
        ("http://user-service:80", "80"),
        ("user-service:443", "443"),
        ("http://user-service:/users", ""),
    ] {
        let shown = error(uri);
        assert!(
            matches!(&shown, TargetError::Port { service, port: found }
            if service == "user-service" && found == port),
            "{shown:?}"
        );
    }
    assert!(error("http://user-service:8080/").to_string().ends_with("leave :8080 out"));
    for uri in
        ["http://ada:secret@user-service/", "http://ada@user-service:80/", "http://:secret@user-service/"]
    {
        let error = error(uri);
        assert!(matches!(error, TargetError::UserInfo), "{uri}");
        let shown = format!("{error} {error:?} {:?}", Error::from(error.clone()));
        assert!(!shown.contains("secret") && !shown.contains("ada"), "{shown}");
    }
    for uri in ["http://[::1]/", "http://[::1]:8080/", "http://user~service/", "http://a,b/", "http://../"] {
        assert!(matches!(error(uri), TargetError::Name(_)), "{uri}: {:?}", error(uri));
    }
    let long = format!("http://{}/", "a".repeat(254));
    assert!(matches!(error(&long), TargetError::Name(_)));
    for uri in ["ftp://user-service/", "httpss://user-service/", "postgres://user-service/"] {
        assert!(matches!(error(uri), TargetError::Scheme { .. }), "{uri}");
    }
}

#[test]
fn a_target_error_is_an_error_of_the_common_type() {
    let kind = |error: TargetError| Error::from(error).kind();
    assert_eq!(kind(TargetError::NoName), ErrorKind::Validation);
    assert_eq!(kind(service_name(&parsed("http://a,b/")).expect_err("a comma")), ErrorKind::Validation);
    let error = scheme(&endpoint("postgres", "10.0.0.1", None), None).expect_err("another protocol");
    assert_eq!(kind(error), ErrorKind::Unsupported);
}

#[test]
fn the_uri_of_an_endpoint_has_its_address_and_the_path_of_the_request() {
    let users = endpoint("http", "10.0.0.1", Some("users.internal"));
    for (target, expected) in [
        ("/users/7?full=1", "http://10.0.0.1:8080/users/7?full=1"),
        ("http://user-service/users/7", "http://10.0.0.1:8080/users/7"),
        ("http://elsewhere:99/", "http://10.0.0.1:8080/"),
        ("http://user-service", "http://10.0.0.1:8080/"),
        ("http://user-service?a=b", "http://10.0.0.1:8080/?a=b"),
        ("/a%20b//c/../d", "http://10.0.0.1:8080/a%20b//c/../d"),
    ] {
        assert_eq!(uri(&users, &parsed(target)).expect(target).to_string(), expected);
    }
    assert_eq!(uri(&users, &parsed("*")).expect("of OPTIONS").path(), "*");
    let error = uri(&users, &parsed("http://ada:secret@user-service/")).expect_err("a user");
    assert!(matches!(error, TargetError::UserInfo));
    let six = endpoint("https", "::1", None);
    assert_eq!(uri(&six, &parsed("/")).expect("valid"), "https://[::1]:8080/");
}

#[test]
fn the_protocol_of_the_endpoint_is_the_scheme() {
    let of = |protocol: &str, requested: Option<&Scheme>| {
        scheme(&endpoint(protocol, "10.0.0.1", None), requested).map(|scheme| scheme.to_string())
    };
    for (protocol, plain, secure) in [
        ("http", Some("http"), None),
        ("h2c", Some("http"), None),
        ("grpc", Some("http"), None),
        ("https", Some("https"), Some("https")),
        ("grpcs", Some("https"), Some("https")),
        ("tcp", Some("http"), Some("https")),
        ("postgres", None, None),
        ("udp", None, None),
    ] {
        for requested in [None, Some(&Scheme::HTTP)] {
            assert_eq!(of(protocol, requested).ok().as_deref(), plain, "{protocol}");
        }
        assert_eq!(of(protocol, Some(&Scheme::HTTPS)).ok().as_deref(), secure, "{protocol}, https");
    }
    let error = of("http", Some(&Scheme::HTTPS)).expect_err("in the clear");
    assert!(matches!(error, TargetError::Downgrade { .. }), "{error:?}");
    let error = of("postgres", Some(&Scheme::HTTPS)).expect_err("not HTTP");
    assert!(matches!(error, TargetError::Protocol { .. }), "{error:?}");
    let ftp = Scheme::try_from("ftp").expect("a scheme");
    assert!(matches!(of("tcp", Some(&ftp)), Err(TargetError::Scheme { .. })));
}

#[test]
fn the_host_is_the_server_name_with_a_port_that_is_not_the_default() {
    let shown = |endpoint: &Endpoint| host(endpoint).expect("HTTP").to_str().expect("text").to_owned();
    let named = endpoint("https", "10.0.0.1", Some("users.internal"));
    assert_eq!((shown(&named).as_str(), server_name(&named)), ("users.internal:8080", "users.internal"));
    let plain = endpoint("http", "10.0.0.1", None);
    assert_eq!((shown(&plain).as_str(), server_name(&plain)), ("10.0.0.1:8080", "10.0.0.1"));
    assert_eq!(shown(&endpoint("http", "::1", None)), "[::1]:8080");
    for (protocol, port, expected) in [
        ("http", 80, "a"),
        ("https", 443, "a"),
        ("http", 443, "a:443"),
        ("https", 80, "a:80"),
        ("tcp", 80, "a"),
    ] {
        let endpoint = Endpoint::builder("1", "users", "a", port).protocol(protocol).build().expect("valid");
        assert_eq!(shown(&endpoint), expected);
    }
    assert!(host(&endpoint("postgres", "10.0.0.1", None)).is_err());
}
