use super::*;
use crate::provider::builder::ConsulBuilder;

fn from(pairs: &[(&str, &str)]) -> Result<String, Error> {
    let pairs: Vec<_> = pairs.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    let variables =
        read(|name| Ok(pairs.iter().find(|(of, _)| *of == name).map(|(_, value)| value.clone())))?;
    Ok(format!("{:?}", ConsulBuilder::from_variables(variables)))
}

#[test]
fn every_variable_is_read() {
    let shown = from(&[
        ("CONSUL_HTTP_ADDR", "consul.example:8501"),
        ("CONSUL_HTTP_SSL", "true"),
        ("CONSUL_HTTP_TOKEN", "canary"),
        ("CONSUL_CACERT", "/ca.pem"),
        ("CONSUL_CLIENT_CERT", "/client.pem"),
        ("CONSUL_CLIENT_KEY", "/client.key"),
        ("CONSUL_TLS_SERVER_NAME", "server.dc1.consul"),
        ("CONSUL_DATACENTER", "dc2"),
        ("CONSUL_NAMESPACE", "team"),
    ])
    .expect("valid");
    for part in [
        "https://consul.example:8501",
        "redacted",
        "/ca.pem",
        "/client.pem",
        "\"server.dc1.consul\"",
        "\"dc2\"",
        "\"team\"",
    ] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    assert!(!shown.contains("canary"), "{shown}");
}

#[test]
fn the_token_file_counts_before_the_token_and_empty_ones_do_not_count() {
    let shown =
        from(&[("CONSUL_HTTP_TOKEN", "canary"), ("CONSUL_HTTP_TOKEN_FILE", "/token")]).expect("valid");
    assert!(shown.contains("token: None") && shown.contains("/token"), "{shown}");
    let shown = from(&[("CONSUL_HTTP_ADDR", ""), ("CONSUL_HTTP_TOKEN_FILE", " ")]).expect("valid");
    assert!(shown.contains("http://127.0.0.1:8500") && shown.contains("token_file: None"), "{shown}");
}

#[test]
fn an_invalid_address_names_its_variable() {
    for (address, token) in
        [("ftp://host", None), ("http://host?x=canary", None), ("far:8500", Some("canary"))]
    {
        let variables = read(|name| {
            Ok(match name {
                "CONSUL_HTTP_ADDR" => Some(address.to_owned()),
                "CONSUL_HTTP_TOKEN" => token.map(str::to_owned),
                _ => None,
            })
        });
        let built = ConsulBuilder::from_variables(variables.expect("readable")).build();
        let error = built.expect_err(address).to_string();
        assert!(error.starts_with("CONSUL_HTTP_ADDR: ") && !error.contains("canary"), "{error}");
    }
}

#[tokio::test]
async fn an_error_names_the_address_and_where_it_came_from() {
    use failover_core::provider::Provider;

    // A port on which nothing listens, as it was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("binds").local_addr().expect("bound");
    let variables = Variables { address: Some(free.to_string()), ..Variables::default() };
    for (builder, origin) in [
        (ConsulBuilder::from_variables(variables), "from CONSUL_HTTP_ADDR"),
        (ConsulBuilder::new().address(free.to_string()), "from ConsulBuilder::address"),
    ] {
        let consul = builder.build().expect("valid");
        let begin = format!("connecting to http://{free} ({origin}): Connection refused");
        let error = consul.ping().await.expect_err("nobody there");
        assert!(error.to_string().contains(&begin), "{error}");
        assert_eq!(error.code(), failover_core::codes::CONNECTION_ERROR);
    }
    // Accepts connections, and does not answer.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = silent.local_addr().expect("bound").to_string();
    let second = std::time::Duration::from_secs(1);
    let consul = ConsulBuilder::new().address(&address).deadline(second).build().expect("valid");
    let error = consul.ping().await.expect_err("no answer").to_string();
    assert!(error.contains(&format!("http://{address} (from ConsulBuilder::address)")), "{error}");
    let default = ConsulBuilder::new().build().expect("valid").client.timed_out("ping", second).to_string();
    assert!(default.starts_with("ping at http://127.0.0.1:8500 (the default): "), "{default}");
}

#[test]
fn what_is_not_offered_or_half_set_is_said() {
    for (pairs, part) in [
        ([("CONSUL_HTTP_SSL_VERIFY", "false")], "CONSUL_CACERT"),
        ([("CONSUL_HTTP_SSL_VERIFY", "0")], "CONSUL_CACERT"),
        ([("CONSUL_HTTP_SSL", "yes")], "true or false"),
        ([("CONSUL_CAPATH", "/certs")], "CONSUL_CACERT"),
        ([("CONSUL_CLIENT_CERT", "/a")], "CONSUL_CLIENT_KEY"),
        ([("CONSUL_HTTP_AUTH", "me:canary")], "CONSUL_HTTP_TOKEN"),
        ([("CONSUL_PARTITION", "canary")], "admin partitions"),
    ] {
        let error = from(&pairs).expect_err(part).to_string();
        assert!(error.contains(part) && error.contains(pairs[0].0), "{error}");
        assert!(!error.contains("canary"), "{error}");
    }
    assert!(from(&[("CONSUL_HTTP_SSL_VERIFY", "true")]).is_ok());
}
