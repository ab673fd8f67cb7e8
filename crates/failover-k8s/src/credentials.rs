//! Locates the API server and loads credentials, from files that may change while in use.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use failover_core::{Error, ErrorKind};
use failover_provider_kit::{BlockingWork, Deadline, Timing, TokenFile};
use http::Uri;
use k8s_openapi::ByteString;
use k8s_openapi::jiff::Timestamp;
use kube::{Client, Config};
use serde_json::json;

use crate::credential_files::CredentialFiles;
use crate::exec_credential::{ExecCredential, Printed};
use crate::kubeconfig::Source;
use crate::server_url::{check_server, check_url};
use crate::{auth_info, certificate, transport};

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
            Self::Environment => match environment() {
                Some(source) => format!("read the {}", source.named()),
                None => "read the service account of the pod".to_owned(),
            },
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
    /// Where it was configured, such as `kubeconfig /etc/kube, context dev`.
    pub(crate) origin: String,
}

/// kube's configuration of a client.
struct Configured {
    config: Config,
    origin: String,
    files: CredentialFiles,
}

/// A client with its credentials.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) token: Option<Arc<TokenFile>>,
    /// When its credentials expire, if known.
    pub(crate) ends: Option<Timestamp>,
    /// The file of the client certificate and when it expires.
    certificate: Option<(Arc<str>, Timestamp)>,
    /// The other files that it was read from.
    pub(crate) files: CredentialFiles,
}

impl Session {
    /// Creates the client. A token file is read here instead of by kube, which would send a
    /// trailing line break and reread the file only after a minute. Reads certificates and keys
    /// from their files.
    fn new(configured: Configured, ends: Option<Timestamp>) -> Result<Self, Error> {
        let Configured { mut config, files, .. } = configured;
        let certificate = client_certificate(&config);
        let auth = &mut config.auth_info;
        let file = if auth.token.is_none() { auth.token_file.take() } else { None };
        let token = file.map(|file| token_file(Path::new(&file))).transpose()?.map(Arc::new);
        let client = transport::client(&config)?;
        Ok(Self { client, token, ends, certificate, files })
    }

    pub(crate) fn of_client(client: Client) -> Self {
        Self { client, token: None, ends: None, certificate: None, files: CredentialFiles::default() }
    }

    /// Returns what is wrong with a client certificate that has expired: the API server does not say
    /// so.
    pub(crate) fn expired(&self) -> Option<String> {
        let (file, ends) = self.certificate.as_ref().filter(|(_, ends)| *ends <= Timestamp::now())?;
        let colon = if file.is_empty() { "" } else { ": " };
        Some(format!("the client certificate expired on {ends}{colon}{file}"))
    }
}

/// Returns the file of the client certificate, empty if it is inline, and when it expires.
fn client_certificate(config: &Config) -> Option<(Arc<str>, Timestamp)> {
    let auth = &config.auth_info;
    let (file, pem) = match (&auth.client_certificate_data, &auth.client_certificate) {
        (Some(data), _) => ("", serde_json::from_value::<ByteString>(json!(data)).ok()?.0),
        (None, Some(file)) => (file.as_str(), std::fs::read(file).ok()?),
        (None, None) => return None,
    };
    Some((file.into(), certificate::expiry(&pem)?))
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
        let mut configured = self.files.run(&what, deadline, read).await??;
        let config = &mut configured.config;
        let mut ends = None;
        if asks_plugin(config)
            && let Some(exec) = config.auth_info.exec.take()
        {
            let printed = self.plugin.run(&exec, deadline).await?;
            ends = printed.ends;
            take(config, printed);
        }
        let server = Server {
            namespace: config.default_namespace.clone(),
            url: Some(config.cluster_url.clone()),
            origin: configured.origin.clone(),
        };
        let what = if server_alone { what } else { format!("{what}, and the files that it names") };
        let way = self.files.run(&what, deadline, move || Session::new(configured, ends)).await??;
        Ok((way, server))
    }

    /// Returns whether one of the files has another content than when it was read.
    pub(crate) async fn have_changed(&self, files: &CredentialFiles, deadline: &Deadline) -> bool {
        if files.is_empty() {
            return false;
        }
        let before = files.clone();
        let changed =
            self.files.run("read the credentials again", deadline, move || before.have_changed()).await;
        changed.unwrap_or(false)
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

/// Returns kube's configuration of a client.
async fn configuration(credentials: &Credentials, dangerous: bool) -> Result<Configured, Error> {
    let source = match credentials {
        Credentials::Environment => environment(),
        Credentials::Kubeconfig { file, context } => Some(Source::file(file, context.as_deref())),
        _ => None,
    };
    // Hashed before they are read: a change in between is found later.
    let mut files = CredentialFiles::of(source.iter().flat_map(|source| source.files.iter().cloned()));
    let (mut config, origin) = match (credentials, &source) {
        (_, Some(source)) => source.read().await?,
        (Credentials::Server { url, authority, token_file }, _) => {
            (server(url, authority, token_file.as_ref())?, "KubernetesProviderBuilder::api_server".to_owned())
        }
        (Credentials::Client(_), _) => {
            return Err(Error::new(ErrorKind::Internal, "a client that was given has no configuration"));
        }
        _ => (in_cluster()?, "the pod's service account".to_owned()),
    };
    check_url(&config.cluster_url).map_err(|error| error.context(&origin))?;
    auth_info::check(&mut config.auth_info, &origin)?;
    let auth = &config.auth_info;
    files.add([&auth.client_certificate, &auth.client_key].into_iter().flatten().map(PathBuf::from));
    if auth.auth_provider.as_ref().is_some_and(|provider| provider.config.contains_key("cmd-path")) {
        // kube would run the command on the runtime's threads, without a deadline. kubectl no
        // longer supports it.
        let message = format!(
            "{origin}: auth-provider with a command is not supported; name a credentials plugin by exec (for GKE \
             gke-gcloud-auth-plugin)"
        );
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    let has_secret =
        auth.token.is_some() || auth.token_file.is_some() || auth.password.is_some() || auth.exec.is_some();
    if !dangerous {
        check_server(&config.cluster_url, has_secret).map_err(|error| error.context(&origin))?;
        if config.accept_invalid_certs {
            let message = format!(
                "{origin}: insecure-skip-tls-verify gives the token to any attacker in between; name the certificate \
                 authority instead, or accept that with KubernetesProviderBuilder::dangerous_accept_any_server"
            );
            return Err(Error::new(ErrorKind::Validation, message));
        }
    }
    Ok(Configured { config, origin, files })
}

/// Returns the kubeconfig that kubectl would use, if there is one.
fn environment() -> Option<Source> {
    Source::find(std::env::var_os("KUBECONFIG").as_deref(), std::env::home_dir().as_deref())
}

fn in_cluster() -> Result<Config, Error> {
    let mut config = Config::incluster().map_err(|error| {
        let message = format!(
            "no kubeconfig (KUBECONFIG is not set, and there is no ~/.kube/config), and this is no pod with a service \
             account: {error}"
        );
        Error::new(ErrorKind::Validation, message)
    })?;
    config.default_namespace = config.default_namespace.trim().to_owned();
    Ok(config)
}

fn server(url: &str, authority: &[u8], token_file: Option<&PathBuf>) -> Result<Config, Error> {
    let uri: http::Uri =
        url.parse().map_err(|_| Error::invalid("server", "this URL", "https://HOST:PORT"))?;
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
