//! The optional settings of a channel.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use failover_core::{Call, Clock, Endpoint, OkIsSuccess, PerEndpoint, ServiceHandle};
use http::request::Parts;
use tonic::transport;

use crate::channel::{FailoverChannel, Shared};
use crate::rules::GrpcRules;
use crate::settings::Settings;

/// Sets up a [`FailoverChannel`]: see [`FailoverChannel::builder`].
#[must_use = "a builder does nothing until it builds"]
pub struct FailoverChannelBuilder {
    service: ServiceHandle,
    settings: Settings,
}

impl fmt::Debug for FailoverChannelBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FailoverChannelBuilder")
            .field("service", &self.service)
            .field("settings", &self.settings)
            .finish()
    }
}

impl FailoverChannel {
    /// Creates a channel to a service, with the usual settings.
    ///
    /// The channel's own rules classify the replies; a classifier of the handle is not used.
    pub fn new<C: Clone>(service: ServiceHandle<C>) -> Self {
        Self::builder(service).build()
    }

    /// Creates a builder for what is optional: TLS, keep-alive, rules, bounds.
    pub fn builder<C: Clone>(service: ServiceHandle<C>) -> FailoverChannelBuilder {
        FailoverChannelBuilder::new(service.with_classifier(OkIsSuccess))
    }
}

impl FailoverChannelBuilder {
    fn new(service: ServiceHandle) -> Self {
        Self { service, settings: Settings::default() }
    }

    /// Sets what each code counts as.
    pub fn with_rules(mut self, rules: GrpcRules) -> Self {
        self.settings.rules = rules;
        self
    }

    /// Sets up to how many bytes a request's body is kept for another attempt. Default: 64 KiB.
    ///
    /// A longer body, and one that is not all there when the call begins, is sent once: to the first
    /// endpoint to which a connection can be made, with all of the call's time instead of an attempt's.
    pub fn replay_limit(mut self, bytes: usize) -> Self {
        self.settings.replay_limit = bytes;
        self
    }

    /// Sets the time to connect to an endpoint, its name and TLS included. Default: 5 s.
    ///
    /// After that time the call goes to another endpoint, since nothing was sent.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.settings.connect_timeout = timeout;
        self
    }

    /// Sets a function that sets up the connection to an endpoint: keep-alive, user agent, windows.
    ///
    /// It is called once for each endpoint, with tonic's settings for its URI. `local_address` is not
    /// supported. An error passes the endpoint over.
    ///
    /// A connection whose other side vanished without a trace is noticed by keep-alive alone; ask the
    /// servers' owner for the interval that they allow, since some end a connection that pings more often.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # use failover_core::ServiceHandle;
    /// # use failover_tonic::FailoverChannel;
    /// # let users = ServiceHandle::fixed("users", ["http://10.0.0.1:50051"])?;
    /// let channel = FailoverChannel::builder(users)
    ///     .with_endpoint(|_, endpoint| {
    ///         endpoint.http2_keep_alive_interval(Duration::from_secs(300)).user_agent("shop/1.0")
    ///     })
    ///     .build();
    /// # Ok::<(), failover_core::Error>(())
    /// ```
    pub fn with_endpoint(
        mut self,
        customise: impl Fn(&Endpoint, transport::Endpoint) -> Result<transport::Endpoint, transport::Error>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.settings.endpoint = Some(Box::new(customise));
        self
    }

    /// Sets the function that sets up TLS. With it, every connection is one of TLS.
    ///
    /// It is called once for each endpoint, with settings whose URI has the endpoint's server name, so
    /// that tonic verifies that name; the connection goes to the endpoint's address. An endpoint whose
    /// protocol does not encrypt is passed over with an error. Without this setting, endpoints of
    /// `https`, `h2` and `grpcs` are.
    ///
    /// ```ignore
    /// let tls = ClientTlsConfig::new().with_native_roots(); // features of the program's own tonic
    /// let channel = FailoverChannel::builder(users)
    ///     .with_tls(move |_, endpoint| endpoint.tls_config(tls.clone()))
    ///     .build();
    /// ```
    pub fn with_tls(
        mut self,
        tls: impl Fn(&Endpoint, transport::Endpoint) -> Result<transport::Endpoint, transport::Error>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.settings.tls = Some(Box::new(tls));
        self
    }

    /// Sets a function that sets the options of a call by its request, such as a key, or whether its
    /// method is idempotent. It comes after the deadline of `grpc-timeout`, and can replace it.
    ///
    /// ```
    /// # use failover_core::ServiceHandle;
    /// # use failover_tonic::FailoverChannel;
    /// # let users = ServiceHandle::fixed("users", ["http://10.0.0.1:50051"])?;
    /// // Repeated only if it was not sent.
    /// let channel = FailoverChannel::builder(users)
    ///     .with_call(|call, request| call.idempotent(request.uri.path() != "/shop.Orders/Pay"))
    ///     .build();
    /// # Ok::<(), failover_core::Error>(())
    /// ```
    pub fn with_call(
        mut self,
        customise: impl for<'a> Fn(Call<'a, OkIsSuccess>, &Parts) -> Call<'a, OkIsSuccess> + Send + Sync + 'static,
    ) -> Self {
        self.settings.call = Some(Box::new(customise));
        self
    }

    /// Builds the channel. Nothing is connected yet.
    pub fn build(self) -> FailoverChannel {
        let Self { service, settings } = self;
        let channels = match (&settings.endpoint, &settings.tls) {
            (None, None) => PerEndpoint::with_identity(&service, |before, now| {
                before.protocol() == now.protocol() && before.server_name() == now.server_name()
            }),
            // The functions may read anything of an endpoint.
            _ => PerEndpoint::new(&service),
        };
        FailoverChannel(Arc::new(Shared { service, channels, settings, clock: Clock::system() }))
    }
}
