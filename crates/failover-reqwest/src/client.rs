//! The small client.

use std::fmt;
use std::sync::Arc;

use failover_tower::FailoverLayer;
use reqwest::{Method, Request, Response};

use crate::error::Error;
use crate::make::{MakeClient, NewBuilder};
use crate::middleware::Configure;
use crate::request::RequestBuilder;
use crate::services::Services;
use crate::stacks::Stacks;

/// A client that finds a service by the name in the URL, and fails over among its endpoints.
///
/// ```
/// use failover_core::ServiceHandle;
/// use failover_reqwest::{Client, Error};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let _ = rustls::crypto::ring::default_provider().install_default();
/// let users = ServiceHandle::fixed("user-service", ["http://127.0.0.1:1", "http://127.0.0.1:2"])?;
/// let client = Client::new(users)?;
/// let error = client.get("http://user-service/users/7").send().await.expect_err("nobody listens");
/// assert!(matches!(error, Error::Call(_)));
/// let error = client.get("http://user-service:8080/users/7").send().await.expect_err("a port");
/// assert!(error.to_string().contains("leave :8080 out"));
/// # Ok(()) }
/// ```
///
/// Bodies are streamed in both directions; a request's body is kept for another attempt up to 64 KiB. The
/// response is the last one of an endpoint, whatever its status; its extensions hold an
/// [`AnsweredBy`](failover_tower::AnsweredBy). All endpoints share one client of reqwest, except for those
/// with a server name, which have one each that connects to the endpoint's address and asks for the name.
/// Redirects are followed at the endpoint only.
///
/// Clones are cheap and share the connections.
#[derive(Clone)]
pub struct Client(Arc<Stacks>);

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("services", self.0.services()).finish_non_exhaustive()
    }
}

impl Client {
    /// Creates a client for the services of a manager, for one service, or for several.
    ///
    /// # Errors
    ///
    /// Returns [`Error::Reqwest`] if reqwest cannot set up TLS or its resolver.
    ///
    /// # Panics
    ///
    /// Panics where reqwest's own builder does: if it is built with `rustls-no-provider`, and the program
    /// has installed no provider of cryptography.
    pub fn new(services: impl Into<Services>) -> Result<Self, Error> {
        Self::builder(services).build()
    }

    /// Returns a builder.
    pub fn builder(services: impl Into<Services>) -> ClientBuilder {
        ClientBuilder {
            services: services.into(),
            configure: Arc::new(|layer| layer),
            builder: Arc::new(reqwest::Client::builder),
        }
    }

    /// Starts a GET request.
    pub fn get(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::GET, url)
    }

    /// Starts a HEAD request.
    pub fn head(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::HEAD, url)
    }

    /// Starts a POST request. It is repeated only if it was not sent, or has an `Idempotency-Key`.
    pub fn post(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::POST, url)
    }

    /// Starts a PUT request.
    pub fn put(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::PUT, url)
    }

    /// Starts a PATCH request. It is repeated only if it was not sent, or has an `Idempotency-Key`.
    pub fn patch(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::PATCH, url)
    }

    /// Starts a DELETE request.
    pub fn delete(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::DELETE, url)
    }

    /// Starts a request.
    pub fn request(&self, method: Method, url: impl AsRef<str>) -> RequestBuilder {
        RequestBuilder::new(Arc::clone(&self.0), method, url.as_ref())
    }

    /// Sends a request of reqwest's to the service that its URL names.
    ///
    /// # Errors
    ///
    /// Returns [`Error`] if the URL names no service, or if no endpoint gives an answer.
    ///
    /// # Cancel safety
    ///
    /// A dropped future cancels the current attempt, which counts neither as success nor as failure.
    pub async fn execute(&self, request: Request) -> Result<Response, Error> {
        self.0.execute(request).await
    }
}

/// A builder of a [`Client`].
#[derive(Clone)]
pub struct ClientBuilder {
    services: Services,
    configure: Arc<Configure>,
    builder: Arc<NewBuilder>,
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder").field("services", &self.services).finish_non_exhaustive()
    }
}

impl ClientBuilder {
    /// Sets a function that returns the builder of a client of reqwest, with its authorities, timeouts
    /// and headers. It is called once for the shared client, and once for each server name.
    ///
    /// The redirect policy is replaced, and for a server name also the resolver and the proxy.
    pub fn with_reqwest(
        mut self,
        builder: impl Fn() -> reqwest::ClientBuilder + Send + Sync + 'static,
    ) -> Self {
        self.builder = Arc::new(builder);
        self
    }

    /// Sets a function that sets the options of each service's layer: rules, the limit of bodies,
    /// headers, the options of a call. Start from [`reqwest_rules`](crate::reqwest_rules) for other rules.
    pub fn with_layer(
        mut self,
        configure: impl Fn(FailoverLayer) -> FailoverLayer + Send + Sync + 'static,
    ) -> Self {
        self.configure = Arc::new(configure);
        self
    }

    /// Builds the client.
    ///
    /// # Errors
    ///
    /// Returns [`Error::Reqwest`] if reqwest cannot set up TLS or its resolver.
    ///
    /// # Panics
    ///
    /// Panics where reqwest's own builder does: if it is built with `rustls-no-provider`, and the program
    /// has installed no provider of cryptography.
    pub fn build(self) -> Result<Client, Error> {
        let Self { services, configure, builder } = self;
        let make = MakeClient::new(builder)?;
        Ok(Client(Arc::new(Stacks::new(services, configure, make))))
    }
}
