//! Locates the API server and loads credentials, from files that may change while in use.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use failover_core::{Error, ErrorKind};
use failover_provider_kit::{BlockingWork, Deadline, Timing, TokenFile};
use http::{HeaderValue, Uri};
use k8s_openapi::ByteString;
use k8s_openapi::jiff::Timestamp;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use serde_json::json;

use crate::error;
use crate::exec_credential::{ExecCredential, Printed};
use crate::server_url::check_server;

/// How long reading the token may take before the previous one is used.
const TOKEN: Duration = Duration::from_millis(500);

/// The source of the server's address and the credentials. `Debug` shows no secret.
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

impl Credentials {
    fn named(&self) -> String {
        match self {
            Self::Environment => "read the kubeconfig that KUBECONFIG names, or ~/.kube/config".to_owned(),
            Self::Kubeconfig { file, .. } => format!("read the kubeconfig {}", file.display()),
            Self::Server { token_file: Some(file), .. } => format!("read the token file {}", file.display()),
            Self::Server { .. } | Self::Client(_) => "read the configuration".to_owned(),
        }
    }
}

/// The server, as configured.
pub(crate) struct Server {
    pub(crate) namespace: String,
    /// `None` for a client that was passed in.
    pub(crate) url: Option<Uri>,
}

/// A client with its credentials.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) token: Option<Arc<TokenFile>>,
    /// When its credentials expire, if known.
    pub(crate) ends: Option<Timestamp>,
}

impl Session {
    /// Creates the client. A token file is read here instead of by kube, which would send a
    /// trailing line break and reread the file only after a minute. Reads certificates and keys
    /// from their files.
    fn new(mut config: Config, ends: Option<Timestamp>) -> Result<Self, Error> {
        let auth = &mut config.auth_info;
        let file = if auth.token.is_none() { auth.token_file.take() } else { None };
        let token = file.map(|file| token_file(Path::new(&file))).transpose()?.map(Arc::new);
        let client = Client::try_from(config).map_err(|error| error::of_kube("make a client", &error))?;
        Ok(Self { client, token, ends })
    }
}

/// Runs blocking reads and plugins. Files and programs may hang, so at most one of each kind runs,
/// however many attempts there are.
#[derive(Clone, Debug)]
pub(crate) struct Sources {
    files: BlockingWork,
    plugin: ExecCredential,
}

impl Sources {
    pub(crate) fn new() -> Self {
        Self { files: BlockingWork::new("failover-k8s"), plugin: ExecCredential::default() }
    }

    /// Reads the configuration and creates a session.
    pub(crate) async fn open(
        &self,
        credentials: &Credentials,
        dangerous: bool,
        deadline: &Deadline,
    ) -> Result<(Session, Server), Error> {
        let server_alone = matches!(credentials, Credentials::Server { .. });
        let (what, credentials) = (credentials.named(), credentials.clone());
        let read = move || {
            #[allow(clippy::disallowed_methods, reason = "it is a thread of its own, not the runtime's")]
            tokio::runtime::Handle::current().block_on(configuration(&credentials, dangerous))
        };
        let mut config = self.files.run(&what, deadline, read).await??;
        let mut ends = None;
        if asks_plugin(&config)
            && let Some(exec) = config.auth_info.exec.take()
        {
            let printed = self.plugin.run(&exec, deadline).await?;
            ends = printed.ends;
            take(&mut config, printed);
        }
        let server =
            Server { namespace: config.default_namespace.clone(), url: Some(config.cluster_url.clone()) };
        let what = if server_alone { what } else { format!("{what}, and the files that it names") };
        let way = self.files.run(&what, deadline, move || Session::new(config, ends)).await??;
        Ok((way, server))
    }
}

/// Returns whether the credentials come from the plugin: all other credentials in a kubeconfig take
/// precedence.
fn asks_plugin(config: &Config) -> bool {
    let auth = &config.auth_info;
    let has_password = auth.username.is_some() && auth.password.is_some();
    auth.auth_provider.is_none() && !has_password && auth.token.is_none() && auth.token_file.is_none()
}

/// Applies a plugin's output to a configuration.
fn take(config: &mut Config, printed: Printed) {
    let auth = &mut config.auth_info;
    if let Some((certificate, key)) = printed.identity {
        auth.client_certificate_data = Some(base64(&certificate));
        auth.client_key_data = Some(base64(&key).into());
    } else {
        auth.token = printed.token.map(Into::into);
    }
}

/// Encodes bytes as Kubernetes does.
fn base64(text: &str) -> String {
    let written = json!(ByteString(text.as_bytes().to_vec()));
    written.as_str().unwrap_or_default().to_owned()
}

/// Opens a token file that is read for each request, because it is replaced on disk while in use.
fn token_file(path: &Path) -> Result<TokenFile, Error> {
    Ok(TokenFile::open(path, Timing::tokio())?.with_reuse(Duration::ZERO).with_read_timeout(TOKEN))
}

/// Returns the value of the `Authorization` header.
pub(crate) async fn bearer(token: &TokenFile) -> Result<HeaderValue, Error> {
    token.current().await.header("Bearer ")
}

/// Returns kube's configuration of a client.
async fn configuration(credentials: &Credentials, dangerous: bool) -> Result<Config, Error> {
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
    if auth.auth_provider.as_ref().is_some_and(|provider| provider.config.contains_key("cmd-path")) {
        // kube would run the command on the runtime's threads, without a deadline. kubectl no
        // longer supports it.
        let message = "kubeconfig: auth-provider with a command is not supported; name a credentials plugin by exec \
                       (for GKE gke-gcloud-auth-plugin)";
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    let has_secret =
        auth.token.is_some() || auth.token_file.is_some() || auth.password.is_some() || auth.exec.is_some();
    if !dangerous {
        check_server(&config.cluster_url, has_secret)?;
        if config.accept_invalid_certs {
            let message = "kubeconfig: insecure-skip-tls-verify gives the token to any attacker in between; \
                 name the certificate authority instead";
            return Err(Error::new(ErrorKind::Validation, message));
        }
    }
    // A proxy variable meant for web traffic must not divert these requests. A proxy in the
    // kubeconfig is an error, because the client does not support proxies.
    let proxies = ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"];
    let is_of_the_environment = |proxy: &http::Uri| {
        proxies
            .iter()
            .filter_map(|name| std::env::var(name).ok())
            .any(|value| value.parse::<http::Uri>().is_ok_and(|value| value == *proxy))
    };
    config.proxy_url = config.proxy_url.take().filter(|proxy| !is_of_the_environment(proxy));
    // kube's own retries take minutes and also repeat writes.
    config.default_retry = false;
    config.connect_timeout = Some(Duration::from_secs(5));
    config.write_timeout = Some(Duration::from_secs(10));
    config.read_timeout = None;
    Ok(config)
}

/// Loads the configuration as `kubectl` does, or from the pod's service account. An existing but
/// invalid kubeconfig is an error.
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
