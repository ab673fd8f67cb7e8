//! Consul's own environment variables, read when that is asked for.

use failover_core::{Error, ErrorKind};

use crate::config::ConsulBuilder;

type Variable = Result<Option<String>, Error>;

/// Sets what the variables say.
pub(crate) fn read(
    mut builder: ConsulBuilder,
    variable: impl Fn(&str) -> Variable,
) -> Result<ConsulBuilder, Error> {
    let get = |name: &str| -> Variable { Ok(variable(name)?.filter(|value| !value.trim().is_empty())) };
    if let Some(address) = get("CONSUL_HTTP_ADDR")? {
        builder = builder.address(address);
    }
    if let Some(value) = get("CONSUL_HTTP_SSL")? {
        builder = builder.tls(truth("CONSUL_HTTP_SSL", &value)?);
    }
    if let Some(value) = get("CONSUL_HTTP_SSL_VERIFY")? {
        if !truth("CONSUL_HTTP_SSL_VERIFY", &value)? {
            let message = "CONSUL_HTTP_SSL_VERIFY: certificates are always verified; name the authority with CONSUL_CACERT";
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
    }
    if get("CONSUL_CAPATH")?.is_some() {
        let message = "CONSUL_CAPATH: a directory is not read; name a file, which may hold many certificates, with CONSUL_CACERT";
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    match (get("CONSUL_HTTP_TOKEN_FILE")?, get("CONSUL_HTTP_TOKEN")?) {
        (Some(path), _) => builder = builder.token_file(path),
        (None, Some(token)) => builder = builder.token(token),
        (None, None) => {}
    }
    if let Some(path) = get("CONSUL_CACERT")? {
        builder = builder.ca_file(path);
    }
    match (get("CONSUL_CLIENT_CERT")?, get("CONSUL_CLIENT_KEY")?) {
        (Some(certificate), Some(key)) => builder = builder.client_certificate(certificate, key),
        (None, None) => {}
        _ => {
            let message = "CONSUL_CLIENT_CERT and CONSUL_CLIENT_KEY: one is set without the other";
            return Err(Error::new(ErrorKind::Validation, message));
        }
    }
    if let Some(datacenter) = get("CONSUL_DATACENTER")? {
        builder = builder.datacenter(datacenter.trim());
    }
    if let Some(namespace) = get("CONSUL_NAMESPACE")? {
        builder = builder.namespace(namespace.trim());
    }
    Ok(builder)
}

/// The words that Consul itself reads.
fn truth(name: &str, value: &str) -> Result<bool, Error> {
    match value.trim() {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        other => Err(Error::invalid(name, other, "true or false")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(pairs: &[(&str, &str)]) -> Result<String, Error> {
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        read(ConsulBuilder::new(), |name| {
            Ok(pairs.iter().find(|(of, _)| *of == name).map(|(_, value)| value.clone()))
        })
        .map(|builder| format!("{builder:?}"))
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
            ("CONSUL_DATACENTER", "dc2"),
            ("CONSUL_NAMESPACE", "team"),
        ])
        .expect("valid");
        for part in
            ["https://consul.example:8501", "redacted", "/ca.pem", "/client.pem", "\"dc2\"", "\"team\""]
        {
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
        ] {
            let error = from(&pairs).expect_err(part).to_string();
            assert!(error.contains(part), "{error}");
        }
        assert!(from(&[("CONSUL_HTTP_SSL_VERIFY", "true")]).is_ok());
    }
}
