//! Consul's environment variables, read on request.

use std::path::PathBuf;

use failover_core::{Error, ErrorKind};

/// The values of the variables that are set.
#[derive(Debug, Default)]
pub(super) struct Variables {
    pub(super) address: Option<String>,
    pub(super) tls: Option<bool>,
    pub(super) token: Option<String>,
    pub(super) token_file: Option<PathBuf>,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) client_certificate: Option<(PathBuf, PathBuf)>,
    pub(super) tls_server_name: Option<String>,
    pub(super) datacenter: Option<String>,
    pub(super) namespace: Option<String>,
}

type Variable = Result<Option<String>, Error>;

/// Reads the variables through `variable`, which looks one up by name.
///
/// # Errors
///
/// Returns an error if a variable cannot be read or requests something unsupported.
pub(super) fn read(variable: impl Fn(&str) -> Variable) -> Result<Variables, Error> {
    let get = |name: &str| -> Variable { Ok(variable(name)?.filter(|value| !value.trim().is_empty())) };
    let mut read = Variables { address: get("CONSUL_HTTP_ADDR")?, ..Variables::default() };
    if let Some(value) = get("CONSUL_HTTP_SSL")? {
        read.tls = Some(boolean("CONSUL_HTTP_SSL", &value)?);
    }
    if let Some(value) = get("CONSUL_HTTP_SSL_VERIFY")? {
        if !boolean("CONSUL_HTTP_SSL_VERIFY", &value)? {
            let message = "CONSUL_HTTP_SSL_VERIFY: certificates are always verified; name the authority with CONSUL_CACERT";
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
    }
    // Ignoring one would reach another place, or with other rights, than the variable says.
    for (name, why) in [
        ("CONSUL_CAPATH", "directories are not supported; name a bundle of certificates with CONSUL_CACERT"),
        ("CONSUL_HTTP_AUTH", "a user and a password are not supported; use a token (CONSUL_HTTP_TOKEN)"),
        (
            "CONSUL_PARTITION",
            "admin partitions are not supported; use an agent in the partition, and unset the variable",
        ),
    ] {
        if get(name)?.is_some() {
            return Err(Error::new(ErrorKind::Unsupported, format!("{name}: {why}")));
        }
    }
    match (get("CONSUL_HTTP_TOKEN_FILE")?, get("CONSUL_HTTP_TOKEN")?) {
        (Some(path), _) => read.token_file = Some(path.into()),
        (None, token) => read.token = token,
    }
    read.ca_file = get("CONSUL_CACERT")?.map(PathBuf::from);
    match (get("CONSUL_CLIENT_CERT")?, get("CONSUL_CLIENT_KEY")?) {
        (Some(certificate), Some(key)) => read.client_certificate = Some((certificate.into(), key.into())),
        (None, None) => {}
        _ => {
            let message = "CONSUL_CLIENT_CERT and CONSUL_CLIENT_KEY: one is set without the other";
            return Err(Error::new(ErrorKind::Validation, message));
        }
    }
    read.tls_server_name = get("CONSUL_TLS_SERVER_NAME")?.map(|value| value.trim().to_owned());
    read.datacenter = get("CONSUL_DATACENTER")?.map(|value| value.trim().to_owned());
    read.namespace = get("CONSUL_NAMESPACE")?.map(|value| value.trim().to_owned());
    Ok(read)
}

/// Parses the spellings that Consul itself accepts.
fn boolean(name: &str, value: &str) -> Result<bool, Error> {
    match value.trim() {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        other => Err(Error::invalid(name, other, "true or false")),
    }
}

#[cfg(test)]
mod tests;
