//! How a provider is set up.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use failover_core::Error;

use crate::client::ApiClient;
use crate::credentials::Credentials;
use crate::names;
use crate::provider::KubernetesProvider;
use crate::settings::{AddressFamily, PortChoice, Reading, Settings, defaults};

/// Builds a [`KubernetesProvider`]; [`KubernetesProvider::builder`] begins one.
///
/// Without a word about where the API server is, it is found as `kubectl` finds it, by `KUBECONFIG` or
/// `~/.kube/config`, and in a pod by its service account.
#[must_use = "a builder does nothing until `build` is called"]
#[derive(Clone)]
pub struct KubernetesProviderBuilder {
    credentials: Credentials,
    namespace: Option<String>,
    dangerous: bool,
    settings: Settings,
}

impl KubernetesProvider {
    /// A provider on the cluster that `kubectl` would talk to (`KUBECONFIG`, `~/.kube/config`), or on its own one in a pod.
    ///
    /// This is the only function of this crate that reads the environment, besides a
    /// [`builder`](Self::builder) that is not given a server. Proxies in the environment are ignored.
    ///
    /// # Errors
    ///
    /// As [`KubernetesProviderBuilder::build`].
    ///
    /// # Cancel safety
    ///
    /// As [`KubernetesProviderBuilder::build`].
    pub async fn from_env() -> Result<Self, Error> {
        Self::builder().build().await
    }

    /// A builder that holds the defaults.
    pub fn builder() -> KubernetesProviderBuilder {
        KubernetesProviderBuilder::new()
    }

    /// A builder for a client that was made elsewhere, with a proxy or a credentials plugin of its own.
    ///
    /// This is the only place where a type of kube, version 5, is part of this crate's interface. Give it a client whose `Config`
    /// has `default_retry = false`, or one request can be repeated for minutes, within the deadline. Where the server is
    /// cannot be told from it, so that loopback addresses count as those of another machine, and that a server which was
    /// away for long is found after up to 36 s; credentials that expire are its own affair.
    pub fn from_client(client: kube::Client) -> KubernetesProviderBuilder {
        KubernetesProviderBuilder::new().client(client)
    }
}

impl KubernetesProviderBuilder {
    pub(crate) fn new() -> Self {
        let reading = Reading {
            port: PortChoice::default(),
            family: AddressFamily::default(),
            protocol: defaults::PROTOCOL.to_owned(),
        };
        let settings = Settings {
            namespace: String::new(),
            deadline: defaults::DEADLINE,
            watch: defaults::WATCH,
            relist: defaults::RELIST,
            settle: defaults::SETTLE,
            reading,
            lease: Some(defaults::LEASE),
            registrant: None,
            reaper: None,
            drain: defaults::DRAIN,
            secrets: false,
        };
        Self { credentials: Credentials::Environment, namespace: None, dangerous: false, settings }
    }

    /// A kubeconfig file, and one of its contexts; `None` is its current one.
    pub fn kubeconfig(mut self, file: impl Into<PathBuf>, context: Option<&str>) -> Self {
        self.credentials = Credentials::Kubeconfig { file: file.into(), context: context.map(str::to_owned) };
        self
    }

    /// The API server at this URL, trusted by the certificates in `authority` (PEM), with the bearer token in a file that
    /// is read again as it changes.
    ///
    /// `authority` may be empty for a server whose certificate the system trusts, and for plain HTTP, which is refused but
    /// to this machine's own addresses.
    pub fn api_server(
        mut self,
        url: impl Into<String>,
        authority: impl Into<Vec<u8>>,
        token_file: impl Into<PathBuf>,
    ) -> Self {
        self.credentials = Credentials::Server {
            url: url.into(),
            authority: authority.into(),
            token_file: Some(token_file.into()),
        };
        self
    }

    pub(crate) fn client(mut self, client: kube::Client) -> Self {
        self.credentials = Credentials::Client(client);
        self
    }

    /// The namespace in which it reads and writes; default: that of the kubeconfig's context or of the pod.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    /// How long one request may take, 100 ms to 60 s; default 10 s. A list of many pages takes one such time for each.
    ///
    /// It is also the time for reading the configuration, in which a credentials plugin runs: give it more where that is
    /// slow, or asks a person something.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.settings.deadline = deadline;
        self
    }

    /// How long one watch request lasts, 5 s to 5 min; default 60 s. A connection that went silent is noticed after this
    /// time and 5 s; an idle watch costs one request in each.
    pub fn watch_timeout(mut self, timeout: Duration) -> Self {
        self.settings.watch = timeout;
        self
    }

    /// After how long everything is listed again even if the watch works, 10 s to 24 h, jittered by a fifth; default
    /// 10 min. It is what finds out that a cluster's store was set back to an older state.
    pub fn relist_interval(mut self, interval: Duration) -> Self {
        self.settings.relist = interval;
        self
    }

    /// How long an endpoint of a slice that others write stays after it has left its slice, at most 10 s; default
    /// 250 ms. Kubernetes moves endpoints from slice to slice in two steps, and would take them out in between.
    pub fn settle_time(mut self, time: Duration) -> Self {
        self.settings.settle = time;
        self
    }

    /// The name of the port that is called, of slices that others wrote. Default: the only one there is.
    pub fn port_name(mut self, name: impl Into<String>) -> Self {
        self.settings.reading.port = PortChoice::Name(name.into());
        self
    }

    /// The number of the port that is called, of slices that others wrote. Default: the only one there is.
    pub fn port_number(mut self, number: u16) -> Self {
        self.settings.reading.port = PortChoice::Number(number);
        self
    }

    /// Which addresses of a dual-stack service are used; default: a pod's IPv4 address where it has one.
    pub fn address_family(mut self, family: AddressFamily) -> Self {
        self.settings.reading.family = family;
        self
    }

    /// The protocol of endpoints whose slice has no `appProtocol`, such as `http`; default `tcp`.
    pub fn default_protocol(mut self, protocol: impl Into<String>) -> Self {
        self.settings.reading.protocol = protocol.into();
        self
    }

    /// For how long what this process has registered is believed after its last sign of life, 3 s to 1 h; default 30 s.
    /// It gives one every third of that.
    pub fn lease_duration(mut self, duration: Duration) -> Self {
        self.settings.lease = Some(duration);
        self
    }

    /// What is registered stays until somebody deregisters it, whatever becomes of this process: for tools that register
    /// what runs elsewhere. Default: it is bound to a lease that this process renews.
    pub fn without_lease(mut self) -> Self {
        self.settings.lease = None;
        self
    }

    /// The readable part of the name of this process's lease: lower-case letters, digits and hyphens, at most 40.
    /// Default: the host's name, which is the pod's in a cluster.
    pub fn registrant(mut self, name: impl Into<String>) -> Self {
        self.settings.registrant = Some(name.into());
        self
    }

    /// Whether this process takes out what other processes registered and left behind. Default: as soon as it has
    /// registered something itself, since it has the rights then.
    pub fn reaper(mut self, reaps: bool) -> Self {
        self.settings.reaper = Some(reaps);
        self
    }

    /// How long a deregistered endpoint is shown as draining before its slice is deleted, at most 5 min; default 0. Who
    /// reads with `failover` needs none: calls that an endpoint has go on. It is for kube-proxy and DNS.
    pub fn drain_time(mut self, time: Duration) -> Self {
        self.settings.drain = time;
        self
    }

    /// Stores the secret headers and the body of health checks, too. Default: they are left out, because everyone who may read
    /// slices can read them.
    pub fn store_secrets(mut self, stores: bool) -> Self {
        self.settings.secrets = stores;
        self
    }

    /// Accepts a kubeconfig that says `insecure-skip-tls-verify`, and plain HTTP to other machines: an attacker in between
    /// gets the token. Default: both are refused.
    pub fn dangerous_accept_any_server(mut self, accepts: bool) -> Self {
        self.dangerous = accepts;
        self
    }

    /// Checks the values and reads the configuration; nothing is asked of the API server yet. Where a kubeconfig names a
    /// credentials plugin (`exec`), it runs that.
    ///
    /// It needs a tokio runtime, and works for as long as that one does. Where the process has no default provider of cryptography for rustls yet, that of ring
    /// becomes it, because kube needs one.
    ///
    /// # Errors
    ///
    /// `Validation` for a value that is not allowed and for a configuration that cannot be read, `Permission` when
    /// credentials cannot be had, `Timeout` when a plugin or a file takes longer than [`deadline`](Self::deadline), and
    /// `Unsupported` for a proxy and for an `auth-provider` that is a command.
    ///
    /// # Cancel safety
    ///
    /// A dropped future leaves nothing but that default: a plugin that runs is ended.
    pub async fn build(self) -> Result<KubernetesProvider, Error> {
        let mut settings = self.settings;
        check("deadline", settings.deadline, Duration::from_millis(100), Duration::from_secs(60))?;
        check("watch_timeout", settings.watch, Duration::from_secs(5), Duration::from_secs(300))?;
        check("relist_interval", settings.relist, Duration::from_secs(10), Duration::from_secs(86_400))?;
        check("settle_time", settings.settle, Duration::ZERO, Duration::from_secs(10))?;
        check("drain_time", settings.drain, Duration::ZERO, Duration::from_secs(300))?;
        if let Some(lease) = settings.lease {
            check("lease_duration", lease, Duration::from_secs(3), Duration::from_secs(3600))?;
        }
        if let PortChoice::Number(0) = settings.reading.port {
            return Err(Error::invalid("port_number", 0, "a number from 1 to 65535"));
        }
        if let Some(name) = &settings.registrant {
            let right = (1..=40).contains(&name.len())
                && name.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase() || b == b'-')
                && names::is_label(name);
            if !right {
                let wanted = "1 to 40 lower-case letters, digits and hyphens, no hyphen at an end";
                return Err(Error::invalid("registrant", name, wanted));
            }
        }
        check_protocol(&settings.reading.protocol)?;
        let connection = ApiClient::open(self.credentials, self.dangerous, settings.deadline).await?;
        settings.namespace = match self.namespace {
            Some(namespace) => namespace,
            None => connection.namespace().to_owned(),
        };
        if !is_namespace(&settings.namespace) {
            let wanted = "the name of a namespace: at most 63 lower-case letters, digits and hyphens";
            return Err(Error::invalid("namespace", &settings.namespace, wanted));
        }
        Ok(KubernetesProvider::new(connection, settings))
    }
}

/// Nothing of the credentials shows.
impl fmt::Debug for KubernetesProviderBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KubernetesProviderBuilder")
            .field("credentials", &self.credentials)
            .field("namespace", &self.namespace)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

fn check(field: &str, value: Duration, least: Duration, most: Duration) -> Result<(), Error> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(Error::invalid(field, format!("{value:?}"), &format!("{least:?} to {most:?}")))
}

fn check_protocol(protocol: &str) -> Result<(), Error> {
    // The endpoint's own builder knows what a protocol is.
    failover_core::Endpoint::builder("a", "a", "10.0.0.1", 1)
        .protocol(protocol)
        .build()
        .map(drop)
        .map_err(|error| error.context("default_protocol"))
}

fn is_namespace(name: &str) -> bool {
    names::is_label(name) && name.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase() || b == b'-')
}
