//! A private certificate authority.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

/// A certificate authority that clients and servers are configured to trust.
#[derive(Debug)]
pub struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, PEM.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Signed {
    /// The certificate.
    pub certificate: String,
    /// The private key, PKCS #8.
    pub key: String,
}

impl Authority {
    /// Creates an authority of this name.
    ///
    /// # Panics
    /// Panics if the operating system provides no randomness.
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names is valid");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("signs").pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// Returns the authority's own certificate, PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Issues a certificate for a server with these names and addresses. It is valid for clients,
    /// too, because servers of a cluster are each other's clients.
    ///
    /// # Panics
    /// Panics if a certificate cannot hold a name.
    pub fn server(&self, names: &[&str]) -> Signed {
        let names = names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let mut params = CertificateParams::new(names).expect("names that a certificate can hold");
        params.distinguished_name.push(DnType::CommonName, "server");
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params)
    }

    /// Issues a certificate like [`server`](Self::server), expired since 2001.
    ///
    /// # Panics
    /// Panics if a certificate cannot hold a name.
    pub fn expired_server(&self, names: &[&str]) -> Signed {
        let names = names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let mut params = CertificateParams::new(names).expect("names that a certificate can hold");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(expired(params))
    }

    /// Issues a client certificate, expired since 2001.
    ///
    /// # Panics
    /// Panics if the operating system provides no randomness.
    pub fn expired_client(&self) -> Signed {
        let mut params = CertificateParams::new(Vec::new()).expect("no names is valid");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(expired(params))
    }

    /// Issues a client certificate with a common name and, if given, an organisation.
    ///
    /// # Panics
    /// Panics if the operating system provides no randomness.
    pub fn client(&self, name: &str, organisation: Option<&str>) -> Signed {
        let mut params = CertificateParams::new(Vec::new()).expect("no names is valid");
        params.distinguished_name.push(DnType::CommonName, name);
        if let Some(organisation) = organisation {
            params.distinguished_name.push(DnType::OrganizationName, organisation);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params)
    }

    fn sign(&self, mut params: CertificateParams) -> Signed {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("signs").pem();
        Signed { certificate, key: key.serialize_pem() }
    }
}

fn expired(mut params: CertificateParams) -> CertificateParams {
    params.not_before = date_time_ymd(2000, 1, 1);
    params.not_after = date_time_ymd(2001, 1, 1);
    params
}
