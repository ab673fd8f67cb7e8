use super::*;

fn refused(change: impl FnOnce(ConsulBuilder) -> ConsulBuilder) -> String {
    change(ConsulBuilder::new()).build().expect_err("not allowed").to_string()
}

#[test]
fn what_is_out_of_range_is_refused_with_its_name() {
    let second = Duration::from_secs(1);
    for (field, message) in [
        ("wait", refused(|b| b.wait(Duration::ZERO))),
        ("wait", refused(|b| b.wait(second * 601))),
        ("deadline", refused(|b| b.deadline(second / 2))),
        ("ttl", refused(|b| b.ttl(second * 9))),
        ("connections", refused(|b| b.connections(3))),
        ("answer_bytes", refused(|b| b.answer_bytes(1))),
        ("datacenter", refused(|b| b.datacenter("dc1&x=y"))),
        ("datacenter", refused(|b| b.datacenter(""))),
        ("namespace", refused(|b| b.namespace("a/b"))),
        ("config_prefix", refused(|b| b.config_prefix("a/../b"))),
        ("config_prefix", refused(|b| b.config_prefix("a%2Fb"))),
        ("config_prefix", refused(|b| b.config_prefix(""))),
        ("deregister_critical_after", refused(|b| b.deregister_critical_after(second))),
        ("poll", refused(|b| b.poll(Duration::ZERO))),
    ] {
        assert!(message.starts_with(field), "{field}: {message}");
    }
}

#[test]
fn every_option_is_in_the_documentation() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
    let text = std::fs::read_to_string(path).expect("the document is there");
    let options = include_str!("../builder.rs").lines().filter_map(|line| {
        line.trim().strip_prefix("pub fn ")?.split_once("(mut self").map(|(name, _)| name)
    });
    let options: Vec<_> = options.collect();
    assert!(options.len() > 20, "{options:?}");
    for option in options {
        let row = text.lines().find(|line| line.starts_with("|`") && line.contains(&format!("`{option}`")));
        assert!(row.is_some(), "{option} has no row");
    }
}

#[test]
fn a_token_goes_over_http_to_this_machine_alone_unless_that_is_allowed() {
    let far = |builder: ConsulBuilder| builder.address("consul.example:8500").token("canary");
    let message = refused(far);
    assert!(message.contains("dangerous_token_over_http") && !message.contains("canary"), "{message}");
    assert!(far(ConsulBuilder::new()).dangerous_token_over_http(true).build().is_ok());
    assert!(ConsulBuilder::new().address("127.0.0.1:8500").token("canary").build().is_ok());
    assert!(ConsulBuilder::new().address("https://consul.example").token("canary").build().is_ok());
    assert!(ConsulBuilder::new().address("consul.example").build().is_ok(), "without a token");
}

#[test]
fn a_secret_in_the_query_of_an_address_is_not_shown() {
    for address in
        ["http://host?token=canary", "host:8500/a?canary", "http://host/#canary", "ftp://host?t=canary"]
    {
        let builder = ConsulBuilder::new().address(address);
        assert!(!format!("{builder:?}").contains("canary"), "{address}");
        let error = builder.build().expect_err("no query");
        assert!(error.to_string().contains("query"), "{error}");
        assert!(!format!("{error} {error:?}").contains("canary"), "{error:?}");
    }
}

#[test]
fn a_name_for_tls_needs_tls() {
    assert!(refused(|b| b.tls_server_name("server.dc1.consul")).contains("tls_server_name"));
    let wrong = refused(|b| b.address("https://10.0.0.1").tls_server_name("two words"));
    assert!(wrong.starts_with("tls_server_name"), "{wrong}");
}

#[test]
fn debug_shows_neither_the_token_nor_a_password_in_the_address() {
    let builder = ConsulBuilder::new().address("http://me:hunter2@host").token("canary");
    let shown = format!("{builder:?}");
    assert!(!shown.contains("canary") && !shown.contains("hunter2"), "{shown}");
}
