//! Configuration of a provider.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use failover_core::Error;

use crate::client::ApiClient;
use crate::credentials::Credentials;
use crate::names;
use crate::provider::KubernetesProvider;
use crate::settings::{AddressFamily, PortChoice, Reading, Settings, defaults};

/// Builds a [`KubernetesProvider`]; created by [`KubernetesProvider::builder`].
///
/// By default, the API server is found as by `kubectl`, through `KUBECONFIG` or `~/.kube/config`,
/// and in a pod through its service account.
#[must_use = "a builder does nothing until `build` is called"]
#[derive(Clone)]
pub struct KubernetesProviderBuilder {
    credentials: Credentials,
    namespace: Option<String>,
    dangerous: bool,
    settings: Settings,
}

impl KubernetesProvider {
    /// Builds a provider for the cluster that `kubectl` uses (`KUBECONFIG`, `~/.kube/config`), or
    /// in a pod for the pod's own cluster.
    ///
    /// Only this function, and a [`builder`](Self::builder) without a configured server, read the
    /// environment. Proxies in the environment are ignored.
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

    /// Returns a builder with the defaults.
    pub fn builder() -> KubernetesProviderBuilder {
        KubernetesProviderBuilder::new()
    }

    /// Returns a builder for an existing client, for example with its own proxy or credentials
    /// plugin.
    ///
    /// No other public item exposes a type of kube (version 5). Use a client whose `Config` has
    /// `default_retry = false`; otherwise one request can be retried until the deadline. The client
    /// does not reveal the server's address, so loopback addresses are trusted no more than those
    /// of another machine, and a server that was unreachable for long is found after up to 36 s.
    /// The client must renew its own credentials.
    pub fn from_client(client: kube::Client) -> KubernetesProviderBuilder {
        KubernetesProviderBuilder::new().client(client)
    }
}

impl KubernetesProviderBuilder {
    pub(crate) fn new() -> Self {
        let reading = Reading::new(PortChoice::default(), AddressFamily::default(), defaults::PROTOCOL);
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
            pod_labels: false,
        };
        Self { credentials: Credentials::Environment, namespace: None, dangerous: false, settings }
    }

    /// Sets a kubeconfig file and one of its contexts; `None` selects the current context.
    pub fn kubeconfig(mut self, file: impl Into<PathBuf>, context: Option<&str>) -> Self {
        self.credentials = Credentials::Kubeconfig { file: file.into(), context: context.map(str::to_owned) };
        self
    }

    /// Sets the API server's URL, the trusted certificates in `authority` (PEM), and a file with
    /// the bearer token, which is read again as it changes.
    ///
    /// `authority` may be empty for a server whose certificate the system trusts, and for plain
    /// HTTP, which is allowed only to this machine's own addresses.
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

    /// Sets the namespace to read and write; default that of the kubeconfig's context or of the
    /// pod.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    /// Sets the time limit of a request, 100 ms to 60 s; default 10 s. It applies to each page of a
    /// list.
    ///
    /// It also limits reading the configuration, including a credentials plugin: increase it if the
    /// plugin is slow or prompts the user.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.settings.deadline = deadline;
        self
    }

    /// Sets the duration of a watch request, 5 s to 5 min; default 60 s. A connection that went
    /// silent is detected 5 s after this time; an idle watch costs one request per period.
    pub fn watch_timeout(mut self, timeout: Duration) -> Self {
        self.settings.watch = timeout;
        self
    }

    /// Sets the interval at which everything is listed again even if the watch works, 10 s to 24 h,
    /// jittered by a fifth; default 10 min. Relisting detects a cluster whose store was restored to
    /// an older state.
    pub fn relist_interval(mut self, interval: Duration) -> Self {
        self.settings.relist = interval;
        self
    }

    /// Sets how long an endpoint that has left a slice written by others is kept, at most 10 s;
    /// default 250 ms. Kubernetes moves endpoints between slices in two steps, between which they
    /// would otherwise be missing.
    pub fn settle_time(mut self, time: Duration) -> Self {
        self.settings.settle = time;
        self
    }

    /// Sets whether services are `ServiceImport`s of the Multi-Cluster Services API, whose slices
    /// have the label `multicluster.kubernetes.io/service-name`, instead of Services; default false.
    pub fn service_imports(mut self, imports: bool) -> Self {
        self.settings.reading.label = if imports { names::IMPORT } else { names::SERVICE };
        self
    }

    /// Sets the name of the port to call, for slices written by others. By default, the slice must
    /// have a single port; a port that was in use stays in use if it gets others.
    pub fn port_name(mut self, name: impl Into<String>) -> Self {
        self.settings.reading.port = PortChoice::Name(name.into());
        self
    }

    /// Sets the number of the port to call, for slices written by others: that of the pods, or that
    /// of the Service if this process may read Services. By default, the slice must have a single
    /// port. Slices without ports, which a headless Service may have, need it.
    pub fn port_number(mut self, number: u16) -> Self {
        self.settings.reading.port = PortChoice::Number(number);
        self
    }

    /// Sets the addresses used of a dual-stack service; default a pod's IPv4 address if it has one.
    pub fn address_family(mut self, family: AddressFamily) -> Self {
        self.settings.reading.family = family;
        self
    }

    /// Sets the zone of this process, so that topology hints (`hints.forZones`, which Kubernetes sets
    /// for a Service with a `trafficDistribution`) are followed. By default, they are not.
    ///
    /// As in kube-proxy, hints count only while every ready endpoint has one and one of them names
    /// this zone. Endpoints that are meant for other zones then have priority 1: they are used when
    /// those of this zone fail, where kube-proxy would not use them at all.
    pub fn zone(mut self, zone: impl Into<String>) -> Self {
        self.settings.reading.zone = Some(zone.into()).filter(|zone| !zone.is_empty());
        self
    }

    /// Sets the name of the node of this process, as the downward API gives it (`spec.nodeName`). Its
    /// zone is looked up, if this process may get nodes, unless [`zone`](Self::zone) states it; and
    /// hints for nodes (`hints.forNodes`) are followed like those for zones, before them.
    pub fn node_name(mut self, node: impl Into<String>) -> Self {
        self.settings.reading.node = Some(node.into()).filter(|node| !node.is_empty());
        self
    }

    /// Sets whether the labels of pods become metadata of their endpoints (`k8s.label.NAME`), for
    /// example for versions, and the label `failover.rs/weight` their weight; default false.
    ///
    /// Needs the right to list and watch pods in the namespace; without it, endpoints have no labels.
    /// One watch for all services of a namespace follows all its pods. Labels appear shortly after the
    /// endpoint, and only in watched services, not in lists.
    pub fn pod_labels(mut self, reads: bool) -> Self {
        self.settings.pod_labels = reads;
        self
    }

    /// Sets the protocol of endpoints whose slice has no `appProtocol`, such as `http`; default
    /// `tcp`.
    pub fn default_protocol(mut self, protocol: impl Into<String>) -> Self {
        self.settings.reading.protocol = protocol.into();
        self
    }

    /// Sets how long registrations of this process stay valid after its last renewal, 3 s to 1 h;
    /// default 30 s. The lease is renewed every third of that.
    pub fn lease_duration(mut self, duration: Duration) -> Self {
        self.settings.lease = Some(duration);
        self
    }

    /// Keeps registrations until they are deregistered, whatever happens to this process: for tools
    /// that register endpoints running elsewhere. By default, registrations are bound to a lease
    /// that this process renews.
    pub fn without_lease(mut self) -> Self {
        self.settings.lease = None;
        self
    }

    /// Sets the readable part of the name of this process's lease: lower-case letters, digits and
    /// hyphens, at most 40. Default the host's name, which is the pod's name in a cluster.
    pub fn registrant(mut self, name: impl Into<String>) -> Self {
        self.settings.registrant = Some(name.into());
        self
    }

    /// Sets whether this process removes registrations of processes that are gone. By default, two
    /// of the processes that have registered an endpoint do so, elected by their leases.
    pub fn reaper(mut self, reaps: bool) -> Self {
        self.settings.reaper = Some(reaps);
        self
    }

    /// Sets how long a deregistered endpoint is shown as draining before its slice is deleted, at
    /// most 5 min; default 0. kube-proxy and DNS need it; readers that use `failover` do not,
    /// because calls in progress continue.
    pub fn drain_time(mut self, time: Duration) -> Self {
        self.settings.drain = time;
        self
    }

    /// Stores possibly secret headers and the body of health checks, too. By default they are
    /// omitted, because everyone who may read slices can read them.
    pub fn store_secrets(mut self, stores: bool) -> Self {
        self.settings.secrets = stores;
        self
    }

    /// Accepts a kubeconfig with `insecure-skip-tls-verify`, and plain HTTP to other machines: an
    /// attacker on the path obtains the token. Refused by default.
    pub fn dangerous_accept_any_server(mut self, accepts: bool) -> Self {
        self.dangerous = accepts;
        self
    }

    /// Validates the values and reads the configuration; sends no request to the API server. Runs
    /// the credentials plugin (`exec`) if the kubeconfig names one.
    ///
    /// Requires a tokio runtime; the provider works as long as that runtime does. If the process
    /// has no default provider of cryptography for rustls, installs ring's, because kube needs one.
    ///
    /// # Errors
    ///
    /// Returns `Validation` for an invalid value or an unreadable configuration, `Permission` if
    /// credentials cannot be obtained, `Timeout` if a plugin or file takes longer than
    /// [`deadline`](Self::deadline), and `Unsupported` for a proxy or an `auth-provider` with a
    /// command.
    ///
    /// # Cancel safety
    ///
    /// A dropped future leaves nothing but that default; a running plugin is killed.
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
        if !names::is_namespace(&settings.namespace) {
            let wanted = "the name of a namespace: at most 63 lower-case letters, digits and hyphens";
            return Err(Error::invalid("namespace", &settings.namespace, wanted));
        }
        Ok(KubernetesProvider::new(connection, settings))
    }
}

/// Omits the credentials.
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
    // The endpoint's own builder validates protocols.
    failover_core::Endpoint::builder("a", "a", "10.0.0.1", 1)
        .protocol(protocol)
        .build()
        .map(drop)
        .map_err(|error| error.context("default_protocol"))
}
