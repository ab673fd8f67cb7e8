//! Certificates and keys: rustls with ring, for this client only.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use failover_core::{Error, ErrorKind};
use failover_provider_kit::read_small_file;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;

/// Four times the size of a bundle of all public authorities.
const MAX_BYTES: u64 = 4 << 20;

/// Returns the TLS configuration: the trusted authorities and the client certificate. Over plain
/// HTTP no authority is trusted.
pub(crate) fn config(
    ca_files: &[PathBuf],
    client: Option<&(PathBuf, PathBuf)>,
    https: bool,
) -> Result<ClientConfig, Error> {
    if !https && (!ca_files.is_empty() || client.is_some()) {
        let message = "certificates are set, but the address is http: they would not be used";
        return Err(Error::new(ErrorKind::Validation, message));
    }
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()
        .map_err(|error| refused("TLS", &error))?;
    let builder = if !https {
        builder.with_root_certificates(RootCertStore::empty())
    } else if ca_files.is_empty() {
        builder.with_platform_verifier().map_err(|error| refused("the authorities of the system", &error))?
    } else {
        let mut roots = RootCertStore::empty();
        for path in ca_files {
            let name = format!("CA file {}", path.display());
            for certificate in certificates(path, &name)? {
                roots.add(certificate).map_err(|error| refused(&name, &error))?;
            }
        }
        builder.with_root_certificates(roots)
    };
    let Some((certificate, key)) = client else { return Ok(builder.with_no_client_auth()) };
    let name = format!("client certificate {}", certificate.display());
    let chain = certificates(certificate, &name)?;
    let key_name = format!("client key {}", key.display());
    let text = read_small_file(key, MAX_BYTES, &key_name)?;
    // The parser's message could quote the key.
    let key = PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|_| {
        Error::new(ErrorKind::Validation, format!("{key_name}: it holds no private key in PEM"))
    })?;
    builder.with_client_auth_cert(chain, key).map_err(|error| refused(&name, &error))
}

fn certificates(path: &Path, name: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let text = read_small_file(path, MAX_BYTES, name)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        _ => Err(Error::new(ErrorKind::Validation, format!("{name}: it holds no certificate in PEM"))),
    }
}

fn refused(name: &str, error: &rustls::Error) -> Error {
    Error::new(ErrorKind::Validation, format!("{name}: {error}"))
}

#[cfg(test)]
mod tests {
    use failover_testkit::TempDir;
    use failover_testkit::certificates::Authority;

    use super::*;

    #[test]
    fn a_bundle_of_authorities_and_a_client_certificate_are_read() {
        let directory = TempDir::new().expect("a directory");
        let file = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).expect("written");
            path
        };
        let (one, two) = (Authority::new("one"), Authority::new("two"));
        let bundle = file("bundle", &format!("# two of them\n{}\n{}", one.pem(), two.pem()));
        let client = two.client("me", None);
        let pair = (file("cert", &client.certificate), file("key", &client.key));
        let config = config(std::slice::from_ref(&bundle), Some(&pair), true).expect("valid");
        assert!(config.client_auth_cert_resolver.has_certs());
        // Each of these is rejected by name, and the key is not shown.
        let text = client.key.lines().nth(1).expect("a key").to_owned();
        for (ca, pair, named) in [
            (file("empty", ""), None, "empty: it holds no certificate"),
            (file("half", &one.pem()[..80]), None, "half: it holds no certificate"),
            (directory.path().join("none"), None, "none cannot be read"),
            (bundle.clone(), Some((pair.0.clone(), file("nokey", &text))), "nokey: it holds no private key"),
            (bundle, Some((pair.1.clone(), pair.1.clone())), "key: it holds no certificate"),
        ] {
            let error = super::config(&[ca], pair.as_ref(), true).expect_err(named);
            assert!(error.to_string().contains(named), "{error}");
            assert!(!format!("{error:?}").contains(&text), "{error:?}");
        }
    }

    #[test]
    fn certificates_for_an_http_address_are_a_mistake() {
        assert!(config(&[], None, false).is_ok());
        assert!(config(&["/ca.pem".into()], None, false).is_err());
    }
}
