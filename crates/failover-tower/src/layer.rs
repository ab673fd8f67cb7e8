//! The layer.

use std::sync::Arc;

use failover_core::{Call, OkIsSuccess, ServiceHandle};
use failover_http::{CallHeaders, HttpRules};
use http::request::Parts;
use http::{Request, Response};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use crate::service::{Failover, send};
use crate::settings::Settings;
use crate::{BoxError, FailoverError, ReplayBody, ResponseBody};

/// Turns a service of HTTP requests into one that fails over among the endpoints of a service.
///
/// The inner service is any client that goes by the URL of the request: its host and port are replaced
/// by an endpoint's, for each attempt by another one. `http://user-service/users/7` and `/users/7`
/// mean the same here, because the layer knows the service. A user in the URL is an error.
///
/// | | |
/// |---|---|
/// | which replies are failures | [`HttpRules`]; [`with_rules`](Self::with_rules) |
/// | which requests are repeated | idempotent ones, and any that was not sent; [`HttpRules::is_idempotent`] |
/// | request bodies | kept for another attempt up to 64 KiB; [`replay_limit`](Self::replay_limit) |
/// | timeouts, retries, load balancing | the service's configuration; [`with_call`](Self::with_call) |
///
/// The last answer of an endpoint is the response, whatever its status. A request without an answer is
/// a [`FailoverError`](crate::FailoverError).
///
/// Clones are cheap and share the settings.
#[derive(Clone, Debug)]
pub struct FailoverLayer {
    service: ServiceHandle,
    settings: Arc<Settings>,
}

impl FailoverLayer {
    /// Creates a layer for a service.
    ///
    /// The layer's own rules classify the replies; a classifier of the handle is not used.
    pub fn new<C: Clone>(service: ServiceHandle<C>) -> Self {
        Self { service: service.with_classifier(OkIsSuccess), settings: Arc::default() }
    }

    /// Sets which replies are failures, and which requests are idempotent.
    pub fn with_rules(self, rules: HttpRules) -> Self {
        self.set(|settings| settings.rules = rules)
    }

    /// Sets up to how many bytes a request's body is kept for another attempt. Default: 64 KiB.
    ///
    /// A request whose body is longer is sent once; if no connection could be made, its body is
    /// untouched, and the next endpoint gets it. With 0, this holds for every body.
    pub fn replay_limit(self, bytes: usize) -> Self {
        self.set(|settings| settings.replay_limit = bytes)
    }

    /// Writes the time left and the attempt's number to each request. Default: no headers.
    pub fn with_headers(self, headers: CallHeaders) -> Self {
        self.set(|settings| settings.headers = Some(headers))
    }

    /// States that the inner service takes the endpoint of each attempt, an `Arc<Endpoint>`, from the
    /// request's extensions, as [`EndpointServices`](crate::EndpointServices) does, connects to its address
    /// and asks for its server name.
    ///
    /// Without it, the extensions have no endpoint, because that costs each attempt three allocations, and
    /// an endpoint of `https` whose server name differs from its address is passed over with an error.
    pub fn per_endpoint(self) -> Self {
        self.set(|settings| settings.per_endpoint = true)
    }

    /// Sets a function that sets the options of a call by its request: a deadline, a key, or whether it
    /// is idempotent.
    ///
    /// ```
    /// # use failover_core::ServiceHandle;
    /// # use failover_tower::FailoverLayer;
    /// # let users = ServiceHandle::fixed("users", ["http://10.0.0.1:80"])?;
    /// let layer = FailoverLayer::new(users).with_call(|call, request| match request.headers.get("x-session") {
    ///     Some(session) => call.key(session),
    ///     None => call,
    /// });
    /// # Ok::<(), failover_core::Error>(())
    /// ```
    pub fn with_call(
        self,
        customise: impl for<'a> Fn(Call<'a, OkIsSuccess>, &Parts) -> Call<'a, OkIsSuccess> + Send + Sync + 'static,
    ) -> Self {
        self.set(|settings| settings.call = Some(Arc::new(customise)))
    }

    /// Sends one request through a service that is ready, without a layer: for services that live no
    /// longer than a request, such as the rest of a chain of middleware.
    ///
    /// # Errors
    ///
    /// Returns [`FailoverError`] if no endpoint gives an answer.
    ///
    /// # Cancel safety
    ///
    /// A dropped future cancels the current attempt, which counts neither as success nor as failure.
    // No `async fn`, whose future has two places for each argument.
    pub fn send<S, B, R>(
        &self,
        ready: S,
        request: Request<B>,
    ) -> impl Future<Output = Result<Response<ResponseBody<R>>, FailoverError>> + Send
    where
        S: Service<Request<ReplayBody<B>>, Response = Response<R>> + Clone + Send,
        S::Error: Into<BoxError>,
        S::Future: Send,
        B: Body + Send + 'static,
        B::Error: Into<BoxError>,
        R: Body + Send,
    {
        send(ready, self.service.clone(), Arc::clone(&self.settings), request)
    }

    fn set(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(Arc::make_mut(&mut self.settings));
        self
    }
}

impl<S> Layer<S> for FailoverLayer {
    type Service = Failover<S>;

    fn layer(&self, inner: S) -> Failover<S> {
        Failover::new(inner, self.service.clone(), Arc::clone(&self.settings))
    }
}
