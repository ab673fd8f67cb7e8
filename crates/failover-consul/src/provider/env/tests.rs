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
