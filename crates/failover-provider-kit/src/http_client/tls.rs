//! Certificates and keys: rustls with ring, for one client only.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use failover_core::{Error, ErrorKind};
use rustls::client::WantsClientCert;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};
use rustls_platform_verifier::Verifier;

use crate::read_small_file;

/// Four times the size of a bundle of all public authorities.
const MAX_BYTES: u64 = 4 << 20;

/// Validated TLS settings: the trusted authorities, the client's certificate, the server's name.
///
/// Cloning it shares them. It installs nothing process-wide.
#[derive(Clone)]
pub struct Tls {
    pub(super) config: Arc<ClientConfig>,
    pub(super) server_name: Option<String>,
}

impl Tls {
    /// Returns a builder. Without any option it trusts the authorities of the platform.
    pub fn builder() -> TlsBuilder {
        TlsBuilder::default()
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("client_certificate", &self.config.client_auth_cert_resolver.has_certs())
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}

/// A PEM text, or the file that holds it.
#[derive(Clone)]
enum Pem {
    File(PathBuf),
    Text(Vec<u8>),
}

impl Pem {
    /// Returns the content, and its name in errors. `what` is what it should hold.
    fn read(&self, what: &str) -> Result<(Vec<u8>, String), Error> {
        match self {
            Self::File(path) => {
                let name = format!("{what} {}", path.display());
                Ok((read_small_file(path, MAX_BYTES, &name)?.into_bytes(), name))
            }
            Self::Text(text) => Ok((text.clone(), what.to_owned())),
        }
    }
}

/// Omits the texts.
impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.fmt(f),
            Self::Text(_) => f.write_str("<pem>"),
        }
    }
}

/// Builds [`Tls`] settings.
#[derive(Clone, Debug, Default)]
#[must_use = "a builder does nothing until it builds"]
pub struct TlsBuilder {
    authorities: Vec<Pem>,
    platform: Option<bool>,
    client: Option<(Pem, Pem)>,
    server_name: Option<String>,
}

impl TlsBuilder {
    /// Adds a PEM file of at most 4 MiB with one or more certificates of trusted authorities. Those of the
    /// platform are then not trusted, unless [`platform_authorities`](Self::platform_authorities) says so.
    pub fn ca_file(mut self, path: impl AsRef<Path>) -> Self {
        self.authorities.push(Pem::File(path.as_ref().to_owned()));
        self
    }

    /// Adds one or more certificates of trusted authorities, PEM.
    pub fn ca_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.authorities.push(Pem::Text(pem.into()));
        self
    }

    /// Sets whether the authorities of the platform are trusted: of the operating system, or of
    /// `SSL_CERT_FILE` and `SSL_CERT_DIR` where the system has no verifier of its own. Default: only
    /// if no other authority is added.
    pub fn platform_authorities(mut self, trusted: bool) -> Self {
        self.platform = Some(trusted);
        self
    }

    /// Sets the files of the client's certificate chain and private key (PKCS#8, SEC1 or PKCS#1),
    /// both PEM.
    pub fn client_certificate(mut self, certificate: impl AsRef<Path>, key: impl AsRef<Path>) -> Self {
        self.client = Some((Pem::File(certificate.as_ref().into()), Pem::File(key.as_ref().into())));
        self
    }

    /// Sets the client's certificate chain and private key, both PEM. Neither is ever shown.
    pub fn client_certificate_pem(
        mut self,
        certificate: impl Into<Vec<u8>>,
        key: impl Into<Vec<u8>>,
    ) -> Self {
        self.client = Some((Pem::Text(certificate.into()), Pem::Text(key.into())));
        self
    }

    /// Sets the name in the server's certificate, if it is not the host of the URL.
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// Reads the files and validates the values, on this thread.
    ///
    /// # Errors
    ///
    /// Returns `Validation` for the first file that cannot be read or does not hold what it should,
    /// for a certificate and a key that do not match, for a server name that is neither a host name
    /// nor an IP address, and if the platform has no authorities. Contents are not shown.
    pub fn build(self) -> Result<Tls, Error> {
        if let Some(name) = &self.server_name {
            server_name(name)?;
        }
        let mut extra = Vec::new();
        for pem in &self.authorities {
            let (text, name) = pem.read("CA file")?;
            for certificate in certificates(&text, &name)? {
                // Each by itself, so that an error names its file.
                RootCertStore::empty().add(certificate.clone()).map_err(|error| refused(&name, &error))?;
                extra.push(certificate);
            }
        }
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| refused("TLS", &error))?;
        let builder = if self.platform.unwrap_or(extra.is_empty()) {
            trusting_platform(builder, extra, provider)?
        } else {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(extra);
            builder.with_root_certificates(roots)
        };
        let config = match &self.client {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let (chain, name) = certificate.read("client certificate")?;
                let chain = certificates(&chain, &name)?;
                let (key, key_name) = key.read("client key")?;
                // The parser's message could quote the key.
                let key = PrivateKeyDer::from_pem_slice(&key).map_err(|_| {
                    Error::new(ErrorKind::Validation, format!("{key_name}: it holds no private key in PEM"))
                })?;
                builder.with_client_auth_cert(chain, key).map_err(|error| refused(&name, &error))?
            }
        };
        Ok(Tls { config: Arc::new(config), server_name: self.server_name })
    }
}

#[cfg(not(target_os = "android"))]
fn trusting_platform(
    builder: ConfigBuilder<ClientConfig, WantsVerifier>,
    extra: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, Error> {
    let verifier = Verifier::new_with_extra_roots(extra, provider);
    let verifier = verifier.map_err(|error| refused("the authorities of the platform", &error))?;
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)))
}

#[cfg(target_os = "android")]
fn trusting_platform(
    builder: ConfigBuilder<ClientConfig, WantsVerifier>,
    extra: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, Error> {
    if !extra.is_empty() {
        let message = "authorities cannot be added to those of Android; trust one or the other";
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    let verifier = Verifier::new(provider);
    let verifier = verifier.map_err(|error| refused("the authorities of the platform", &error))?;
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)))
}

/// # Errors
///
/// Returns `Validation` if it is neither a host name nor an IP address.
pub(super) fn server_name(name: &str) -> Result<ServerName<'static>, Error> {
    ServerName::try_from(name.to_owned())
        .map_err(|_| Error::invalid("server_name", name, "a host name or an IP address"))
}

fn certificates(text: &[u8], name: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
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
        let tls =
            Tls::builder().ca_file(&bundle).client_certificate(&pair.0, &pair.1).build().expect("valid");
        assert!(tls.config.client_auth_cert_resolver.has_certs());
        // Each of these is rejected by name, and the key is not shown.
        let text = client.key.lines().nth(1).expect("a key").to_owned();
        let not_der = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for (ca, pair, named) in [
            (file("empty", ""), None, "empty: it holds no certificate"),
            (file("half", &one.pem()[..80]), None, "half: it holds no certificate"),
            (file("odd", not_der), None, "odd: invalid peer certificate"),
            (directory.path().join("none"), None, "none cannot be read"),
            (bundle.clone(), Some((pair.0.clone(), file("nokey", &text))), "nokey: it holds no private key"),
            (bundle.clone(), Some((pair.1.clone(), pair.1.clone())), "key: it holds no certificate"),
            (bundle.clone(), Some((pair.0.clone(), file("other", &one.client("a", None).key))), "cert: "),
        ] {
            let mut builder = Tls::builder().ca_file(ca);
            if let Some((certificate, key)) = pair {
                builder = builder.client_certificate(certificate, key);
            }
            let error = builder.build().expect_err(named);
            assert!(error.to_string().contains(named), "{named}: {error}");
            assert!(!format!("{error:?}").contains(&text), "{error:?}");
        }
        let error = Tls::builder().ca_file(bundle).server_name("two words").build().expect_err("no name");
        assert!(error.to_string().starts_with("server_name: two words is not allowed"), "{error}");
    }

    #[test]
    fn pem_texts_are_read_and_not_shown() {
        let authority = Authority::new("one");
        let client = authority.client("me", None);
        let builder = Tls::builder()
            .ca_pem(authority.pem())
            .client_certificate_pem(client.certificate.as_str(), client.key.as_str());
        let shown = format!("{builder:?} {:?}", builder.clone().build().expect("valid"));
        assert!(!shown.contains("BEGIN") && shown.contains("<pem>"), "{shown}");
        let tls = builder.platform_authorities(false).build().expect("valid");
        assert!(tls.config.client_auth_cert_resolver.has_certs());
    }
}
