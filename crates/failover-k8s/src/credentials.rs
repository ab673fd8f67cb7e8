//! Where the API server is and who asks: from files, which may change while they are used.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use failover_core::{Error, ErrorKind};
use http::HeaderValue;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

use crate::config::check_server;
use crate::error;

/// The most that a token file may hold.
const MOST_TOKEN: u64 = 64 * 1024;

/// Where the API server is and who asks. `Debug` shows no secret.
#[derive(Clone)]
pub(crate) enum Credentials {
    Environment,
    Kubeconfig { file: PathBuf, context: Option<String> },
    Server { url: String, authority: Vec<u8>, token_file: Option<PathBuf> },
    Client(Client),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment => f.write_str("Environment"),
            Self::Kubeconfig { file, context } => {
                f.debug_struct("Kubeconfig").field("file", file).field("context", context).finish()
            }
            Self::Server { token_file, .. } => {
                f.debug_struct("Server").field("token_file", token_file).finish_non_exhaustive()
            }
            Self::Client(_) => f.write_str("Client"),
        }
    }
}

/// What a request goes through.
#[derive(Clone)]
pub(crate) struct Way {
    pub(crate) client: Client,
    pub(crate) token: Option<Arc<Token>>,
}

impl Way {
    /// A client, and the token beside it where that is in a file: kube would send a line break with it, and read the file
    /// again only after a minute.
    pub(crate) fn new(mut config: Config) -> Result<Self, Error> {
        let auth = &mut config.auth_info;
        let file = if auth.token.is_none() { auth.token_file.take() } else { None };
        let token = file.map(|file| Token::new(PathBuf::from(file))).transpose()?.map(Arc::new);
        let client = Client::try_from(config).map_err(|error| error::of_kube("make a client", &error))?;
        Ok(Self { client, token })
    }
}

/// A token in a file, which is read for each request: it is replaced on disk while it is used.
pub(crate) struct Token {
    file: PathBuf,
    /// What was read last, for as long as the file cannot be read.
    last: Mutex<Option<HeaderValue>>,
}

impl Token {
    fn new(file: PathBuf) -> Result<Self, Error> {
        let token = Self { file, last: Mutex::default() };
        token.header().map(|_| token)
    }

    pub(crate) fn header(&self) -> Result<HeaderValue, Error> {
        let read = read_token(&self.file);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match (read, &*last) {
            (Ok(header), _) => Ok(last.insert(header).clone()),
            (Err(_), Some(before)) => Ok(before.clone()),
            (Err(error), None) => Err(error),
        }
    }
}

fn read_token(file: &Path) -> Result<HeaderValue, Error> {
    let shown = file.display();
    let unusable = |why: String| {
        Error::new(ErrorKind::Permission, format!("the token file {shown} {why}"))
            .with_code("UNAUTHENTICATED")
    };
    let mut text = String::new();
    let read = File::open(file).and_then(|file| file.take(MOST_TOKEN + 1).read_to_string(&mut text));
    read.map_err(|error| unusable(format!("cannot be read: {error}")))?;
    if text.len() as u64 > MOST_TOKEN {
        return Err(unusable(format!("is larger than {MOST_TOKEN} bytes")));
    }
    // A line break at its end is an editor's.
    let token = text.trim();
    if token.is_empty() {
        return Err(unusable("is empty".to_owned()));
    }
    let mut header = HeaderValue::from_str(&format!("Bearer {token}"))
        .map_err(|_| unusable("holds characters that no token has".to_owned()))?;
    header.set_sensitive(true);
    Ok(header)
}

/// What kube makes a client of.
pub(crate) async fn configuration(credentials: &Credentials, dangerous: bool) -> Result<Config, Error> {
    let mut config = match credentials {
        Credentials::Environment => environment().await?,
        Credentials::Kubeconfig { file, context } => {
            let kubeconfig = Kubeconfig::read_from(file).map_err(|error| error::of_kubeconfig(&error))?;
            let options = KubeConfigOptions { context: context.clone(), ..KubeConfigOptions::default() };
            Config::from_custom_kubeconfig(kubeconfig, &options)
                .await
                .map_err(|error| error::of_kubeconfig(&error))?
        }
        Credentials::Server { url, authority, token_file } => server(url, authority, token_file.as_ref())?,
        Credentials::Client(_) => {
            return Err(Error::new(ErrorKind::Internal, "a client that was given has no configuration"));
        }
    };
    let auth = &config.auth_info;
    let has_secret =
        auth.token.is_some() || auth.token_file.is_some() || auth.password.is_some() || auth.exec.is_some();
    if !dangerous {
        check_server(&config.cluster_url, has_secret)?;
        if config.accept_invalid_certs {
            let message = "kubeconfig: insecure-skip-tls-verify gives the token to whoever is in between; \
                 name the certificate authority instead";
            return Err(Error::new(ErrorKind::Validation, message));
        }
    }
    // A variable that somebody set for web pages must not lead this traffic elsewhere; what the kubeconfig itself says
    // is an error of the client's, which has no proxy.
    let proxies = ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"];
    let is_of_the_environment = |proxy: &http::Uri| {
        proxies
            .iter()
            .filter_map(|name| std::env::var(name).ok())
            .any(|value| value.parse::<http::Uri>().is_ok_and(|value| value == *proxy))
    };
    config.proxy_url = config.proxy_url.take().filter(|proxy| !is_of_the_environment(proxy));
    // Its own retries take minutes, for writes as well.
    config.default_retry = false;
    config.connect_timeout = Some(Duration::from_secs(5));
    config.write_timeout = Some(Duration::from_secs(10));
    config.read_timeout = None;
    Ok(config)
}

/// As `kubectl` finds it, and in a pod its service account. A kubeconfig that is there and broken is an error.
async fn environment() -> Result<Config, Error> {
    match Config::from_kubeconfig(&KubeConfigOptions::default()).await {
        Ok(config) => Ok(config),
        Err(KubeconfigError::FindPath | KubeconfigError::ReadConfig(..)) => Config::incluster().map_err(|error| {
            let message = format!(
                "no kubeconfig (KUBECONFIG or ~/.kube/config), and this is no pod with a service account: {error}"
            );
            Error::new(ErrorKind::Validation, message)
        }),
        Err(error) => Err(error::of_kubeconfig(&error)),
    }
}

fn server(url: &str, authority: &[u8], token_file: Option<&PathBuf>) -> Result<Config, Error> {
    let uri: http::Uri =
        url.parse().map_err(|_| Error::invalid("server", "this URL", "https://HOST:PORT"))?;
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(Error::invalid("server", "a URL with a user", "https://HOST:PORT"));
    }
    let mut config = Config::new(uri);
    if !authority.is_empty() {
        use rustls::pki_types::CertificateDer;
        use rustls::pki_types::pem::PemObject;
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(authority).collect();
        let certificates: Vec<Vec<u8>> = certificates
            .unwrap_or_default()
            .into_iter()
            .map(|certificate| certificate.as_ref().to_vec())
            .collect();
        if certificates.is_empty() {
            return Err(Error::invalid("authority", "what was given", "certificates as PEM"));
        }
        config.root_cert = Some(certificates);
    }
    config.auth_info.token_file = token_file.map(|file| file.to_string_lossy().into_owned());
    Ok(config)
}
