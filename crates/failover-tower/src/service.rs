//! The service that fails over.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use failover_core::{Attempt, Classified, Endpoint, Outcome, ServiceHandle};
use failover_http::{HttpRules, TargetError, host, server_name, uri};
use http::header::HOST;
use http::request::Parts;
use http::uri::Scheme;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;
use tracing::Instrument;

use crate::error::{ConnectError, FailoverError, ServerNameError};
use crate::replay::{ReplayBody, Shared};
use crate::response_body::ResponseBody;
use crate::settings::Settings;
use crate::span::{self, AttemptSpan};
use crate::{AnsweredBy, BoxError};

/// A service that sends each request to one endpoint after another until one answers: see
/// [`FailoverLayer`](crate::FailoverLayer).
///
/// The inner service needs to be `Clone` and `Send`, not `Sync`. The one that was polled ready makes the
/// first attempt; each other attempt polls a clone of it until that is ready, which counts as time of
/// the attempt.
#[derive(Clone)]
pub struct Failover<S> {
    inner: S,
    service: ServiceHandle,
    settings: Arc<Settings>,
}

impl<S> fmt::Debug for Failover<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failover")
            .field("service", &self.service)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl<S> Failover<S> {
    pub(crate) fn new(inner: S, service: ServiceHandle, settings: Arc<Settings>) -> Self {
        Self { inner, service, settings }
    }
}

/// The future of a request: see [`Failover`].
///
/// Dropped, it cancels the current attempt, which counts neither as success nor as failure.
pub struct ResponseFuture<B>(Pin<Box<dyn Future<Output = Answer<B>> + Send>>);

pub(crate) type Answer<B> = Result<Response<ResponseBody<B>>, FailoverError>;

impl<B> fmt::Debug for ResponseFuture<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

impl<B> Future for ResponseFuture<B> {
    type Output = Answer<B>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(context)
    }
}

impl<S, B, R> Service<Request<B>> for Failover<S>
where
    S: Service<Request<ReplayBody<B>>, Response = Response<R>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    B: Body + Send + 'static,
    B::Error: Into<BoxError>,
    R: Body + Send + 'static,
{
    type Response = Response<ResponseBody<R>>;
    type Error = FailoverError;
    type Future = ResponseFuture<R>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), FailoverError>> {
        self.inner.poll_ready(context).map_err(|error| FailoverError::Service(error.into()))
    }

    fn call(&mut self, request: Request<B>) -> ResponseFuture<R> {
        // The clone is not ready; the service that was polled makes the first attempt.
        let spare = self.inner.clone();
        let ready = std::mem::replace(&mut self.inner, spare);
        let (service, settings) = (self.service.clone(), Arc::clone(&self.settings));
        ResponseFuture(Box::pin(send(ready, service, settings, request)))
    }
}

/// Sends a request through a service that is ready.
pub(crate) fn send<S, B, R>(
    mut inner: S,
    service: ServiceHandle,
    settings: Arc<Settings>,
    request: Request<B>,
) -> impl Future<Output = Answer<R>> + Send
where
    S: Service<Request<ReplayBody<B>>, Response = Response<R>> + Clone + Send,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: Body + Send + 'static,
    B::Error: Into<BoxError>,
    R: Body + Send,
{
    let (parts, body) = request.into_parts();
    let body = Shared::new(body, settings.replay_limit);
    // Only borrows what it captures: in an `async fn`, each argument that is moved from has two places.
    async move {
        check(&parts).map_err(FailoverError::Target)?;
        let (parts, body, settings) = (&parts, body.as_ref(), &*settings);
        let idempotent = settings.rules.is_idempotent(&parts.method, &parts.headers);
        let mut call = service.call().idempotent(idempotent);
        if let Some(customise) = &settings.call {
            call = customise(call, parts);
        }
        if let Some(body) = body {
            let body = Arc::clone(body);
            call = call.retry_if(move || body.can_replay());
        }
        let mut polled_ready = true;
        let calls = call
            .classify(|reply: Result<&Response<R>, &BoxError>| {
                classify(&settings.rules, body.is_some_and(|body| body.has_failed()), reply)
            })
            .execute(|attempt| {
                let span = span::of_attempt(&attempt, parts);
                let waiting = AttemptSpan::new(&span, &attempt);
                // The service that was polled ready makes one attempt; a clone of it is not ready yet.
                let begun = match prepare(&attempt, settings, parts, body) {
                    Ok(request) if std::mem::take(&mut polled_ready) => {
                        Begun::Sent(span.in_scope(|| inner.call(request)))
                    }
                    Ok(request) => Begun::Ready(Box::new((inner.clone(), request))),
                    Err(error) => Begun::Failed(error),
                };
                async move {
                    let answered = if span.is_disabled() {
                        begun.answer().await
                    } else {
                        Box::pin(begun.answer().instrument(span)).await
                    };
                    waiting.end(|span| {
                        span::record(span, &answered, |reply| {
                            classify(&settings.rules, body.is_some_and(|body| body.has_failed()), reply)
                        });
                    });
                    let mut response = answered?;
                    response.extensions_mut().insert(AnsweredBy::new(&attempt));
                    Ok(response)
                }
            });
        // In a box, because the allocator has two parts of this size at hand, and not one of their sum.
        let response = match Box::pin(calls).await {
            Ok(done) => done.value,
            Err(mut error) => match error.last_reply() {
                Some(_) => error.into_last_reply().expect("it was there just now"),
                None => return Err(FailoverError::Call(error.without_reply())),
            },
        };
        let (head, body) = response.into_parts();
        let by = head.extensions.get::<AnsweredBy>();
        let body = ResponseBody::new(body, || service.keep_in_flight(by?.endpoint()));
        Ok(Response::from_parts(head, body))
    }
}

/// How an attempt begins.
enum Begun<S, F, B> {
    Sent(F),
    Ready(Box<(S, Request<ReplayBody<B>>)>),
    Failed(BoxError),
}

impl<S, B, R, E> Begun<S, S::Future, B>
where
    S: Service<Request<ReplayBody<B>>, Response = Response<R>, Error = E>,
    E: Into<BoxError>,
{
    async fn answer(self) -> Result<Response<R>, BoxError> {
        match self {
            Self::Sent(future) => future.await.map_err(Into::into),
            // In a box, because it is large, and rare: a first attempt would pay for its size.
            Self::Ready(waiting) => {
                let (mut inner, request) = *waiting;
                let sent = async move {
                    poll_fn(|context| inner.poll_ready(context)).await.map_err(Into::into)?;
                    inner.call(request).await.map_err(Into::into)
                };
                Box::pin(sent).await
            }
            Self::Failed(error) => Err(error),
        }
    }
}

/// Refuses what no endpoint can change.
fn check(parts: &Parts) -> Result<(), TargetError> {
    if parts.uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(TargetError::UserInfo);
    }
    match parts.uri.scheme() {
        Some(scheme) if *scheme != Scheme::HTTP && *scheme != Scheme::HTTPS => {
            Err(TargetError::Scheme { scheme: scheme.to_string() })
        }
        _ => Ok(()),
    }
}

/// Returns the request for an endpoint.
fn prepare<B>(
    attempt: &Attempt,
    settings: &Settings,
    parts: &Parts,
    body: Option<&Arc<Shared<B>>>,
) -> Result<Request<ReplayBody<B>>, BoxError> {
    let endpoint: &Arc<Endpoint> = attempt.endpoint();
    let uri = uri(endpoint, &parts.uri)?;
    let name = server_name(endpoint);
    let by_name = settings.per_endpoint || name == endpoint.address();
    if !by_name && uri.scheme() == Some(&Scheme::HTTPS) {
        return Err(ServerNameError::new(endpoint).into());
    }
    let named = endpoint.server_name().map(|_| host(endpoint)).transpose()?;
    // Without the URL, of which a clone of all parts would be dropped at once.
    let mut request = Request::new(ReplayBody::next(body));
    *request.uri_mut() = uri;
    *request.method_mut() = parts.method.clone();
    *request.version_mut() = parts.version;
    *request.headers_mut() = parts.headers.clone();
    *request.extensions_mut() = parts.extensions.clone();
    if let Some(named) = named {
        request.headers_mut().insert(HOST, named);
    }
    if let Some(names) = &settings.headers {
        names.write(attempt, request.headers_mut());
    }
    if settings.per_endpoint {
        request.extensions_mut().insert(Arc::clone(endpoint));
    }
    Ok(request)
}

fn classify<R>(rules: &HttpRules, body_failed: bool, reply: Result<&Response<R>, &BoxError>) -> Classified {
    let error = match reply {
        Ok(response) => return rules.classify_response(response),
        Err(error) => &**error,
    };
    // Its sender broke the request off, which says nothing about the endpoint.
    if body_failed {
        return Classified::from_error(Outcome::Local, error);
    }
    if error.is::<TargetError>() || error.is::<ServerNameError>() {
        return Classified::from_error(Outcome::NotSent, error);
    }
    let classified = rules.classify_error(error);
    match classified.outcome() {
        Outcome::Local => classified,
        _ if ConnectError::is_in(error) => Classified::from_error(Outcome::NotSent, error),
        _ => classified,
    }
}
