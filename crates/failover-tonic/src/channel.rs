//! The channel.

use std::fmt;
use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use failover_core::{
    Attempt, Call, CallError, Classified, Clock, OkIsSuccess, Outcome, PerEndpoint, ServiceHandle, Time,
};
use failover_tower::{AnsweredBy, AttemptSpan, BoxError};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use tonic::body::Body;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tower_service::Service;
use tracing::Instrument;

use crate::error::NotSent;
use crate::request_body::Outgoing;
use crate::response_body::{Deadline, Open, ResponseBody, drop_bad_details};
use crate::rules::{self, GrpcRules, Pushback};
use crate::settings::Settings;
use crate::{endpoints, error, span, timeout};

const PREVIOUS_ATTEMPTS: HeaderName = HeaderName::from_static("grpc-previous-rpc-attempts");
/// Timers for one time, of tonic and of the engine, expire within this time of each other.
const BOTH_EXPIRED: Duration = Duration::from_millis(2);

/// A channel that sends each call to one endpoint after another until one answers.
///
/// It takes the place of tonic's `Channel` in a generated client, and keeps one tonic `Channel` for each
/// endpoint of the service. Clones are cheap and share them.
///
/// ```
/// # mod greeter {
/// #     pub struct GreeterClient<T>(T);
/// #     impl<T: tonic::client::GrpcService<tonic::body::Body>> GreeterClient<T> {
/// #         pub fn new(channel: T) -> Self { Self(channel) }
/// #     }
/// # }
/// use failover_core::ServiceHandle;
/// use failover_tonic::FailoverChannel;
/// # use greeter::GreeterClient;
///
/// let users = ServiceHandle::fixed("users", ["http://10.0.0.1:50051", "http://10.0.0.2:50051"])?;
/// let client = GreeterClient::new(FailoverChannel::new(users));
/// # Ok::<(), failover_core::Error>(())
/// ```
///
/// | | |
/// |---|---|
/// | which statuses are failures, and which calls are repeated | [`GrpcRules`]; [`with_rules`](crate::FailoverChannelBuilder::with_rules) |
/// | methods that are not idempotent | [`with_call`](crate::FailoverChannelBuilder::with_call): by default, every call may be repeated until a server has answered |
/// | request bodies | kept for another attempt up to 64 KiB if they are all there when the call begins; [`replay_limit`](crate::FailoverChannelBuilder::replay_limit) |
/// | time | `grpc-timeout` (`Request::set_timeout`) bounds the call with all its attempts, each of which sends the time left; without it, the service's `timeout`, 30 s by default, bounds the time to the head of the reply |
/// | load balancing, retries, breakers | the service's configuration |
///
/// A reply is decided at its head, as in gRFC A6: a status there is repeated as its code says, and the
/// last one is the result, with its message, details and metadata. A status in trailers, after messages
/// may have been read, only counts for the endpoint.
///
/// A call without a reply ends with `UNAVAILABLE`, `DEADLINE_EXCEEDED` or, at a limit of the service or
/// of this machine, `RESOURCE_EXHAUSTED`. The message names all attempts, and the status' source is a
/// [`FailoverError`](failover_tower::FailoverError). [`AnsweredBy`] in the extensions of a response says
/// which endpoint answered.
#[derive(Clone)]
pub struct FailoverChannel(pub(crate) Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) service: ServiceHandle,
    pub(crate) channels: PerEndpoint<Channel>,
    pub(crate) settings: Settings,
    pub(crate) clock: Clock,
}

impl fmt::Debug for FailoverChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FailoverChannel")
            .field("service", &self.0.service)
            .field("channels", &self.0.channels)
            .field("settings", &self.0.settings)
            .finish_non_exhaustive()
    }
}

/// The future of a call: see [`FailoverChannel`].
///
/// Dropped, it cancels the current attempt, which counts neither as success nor as failure.
pub struct ResponseFuture(Pin<Box<dyn Future<Output = Result<Response<ResponseBody>, Status>> + Send>>);

impl fmt::Debug for ResponseFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

impl Future for ResponseFuture {
    type Output = Result<Response<ResponseBody>, Status>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(context)
    }
}

impl Service<Request<Body>> for FailoverChannel {
    type Response = Response<ResponseBody>;
    type Error = Status;
    type Future = ResponseFuture;

    /// Always ready: which endpoint's channel a call needs is known only with the call.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> ResponseFuture {
        ResponseFuture(Box::pin(send(Arc::clone(&self.0), request)))
    }
}

/// What all attempts of a call have in common.
struct Sent<'a> {
    parts: &'a Parts,
    body: &'a Arc<Outgoing>,
    /// The caller's deadline.
    deadline: Option<Time>,
}

/// The head of a server's reply.
pub(crate) struct Reply {
    pub(crate) response: Response<Body>,
    /// The status in the head, which is all of the reply then (Trailers-Only).
    pub(crate) code: Option<Code>,
}

/// Sends a call.
fn send(
    shared: Arc<Shared>,
    request: Request<Body>,
) -> impl Future<Output = Result<Response<ResponseBody>, Status>> + Send {
    let (parts, body) = request.into_parts();
    let mut body = Some(body);
    // Only borrows what it captures: in an `async fn`, each argument that is moved from has two places.
    async move {
        let shared = &*shared;
        let timeout = timeout::of(&parts.headers)?;
        let deadline = timeout.map(|timeout| shared.clock.now() + timeout);
        let read = |context: &mut Context<'_>| {
            let body = body.take().expect("it is read once");
            Poll::Ready(Outgoing::read(body, shared.settings.replay_limit, context))
        };
        let body = poll_fn(read).await?;
        let rules = &shared.settings.rules;
        let sent = &Sent { parts: &parts, body: &body, deadline };
        let calls = shared
            .configure(timeout, sent)
            .classify(|reply: Result<&Reply, &BoxError>| match reply {
                Ok(reply) => rules.classify_head(reply.code, &reply.response),
                // Its sender broke the request off, which says nothing about the endpoint.
                Err(error) if sent.body.has_failed() => Classified::from_error(Outcome::Local, &**error),
                Err(error) => GrpcRules::classify_error(&**error),
            })
            .execute(|attempt| {
                let span = span::of_attempt(&attempt, sent.parts.uri.path());
                let waiting = AttemptSpan::new(&span, &attempt);
                let answer = async move {
                    let answered = shared.attempt(attempt, sent).await;
                    waiting.end(|span| span::record(span, answered.as_ref().map(|reply| reply.code)));
                    answered
                };
                // In a box, because it is large, and moved on the way to where it is polled.
                Box::pin(answer.instrument(span))
            });
        // In a box, because the allocator has two parts of this size at hand, and not one of their sum.
        let (Reply { response, code }, succeeded) = match Box::pin(calls).await {
            Ok(done) => (done.value, true),
            Err(error) => (last_reply(error, &body)?, false),
        };
        let ends_with_status = succeeded && code.is_none() && response.status() == StatusCode::OK;
        let (head, reply) = response.into_parts();
        let open = || {
            let by = head.extensions.get::<AnsweredBy>();
            let in_flight = by.and_then(|by| shared.service.keep_in_flight(by.endpoint()));
            Open { in_flight, rules: rules.clone(), request: Arc::clone(&body), ends_with_status }
        };
        let deadline = deadline.map(|at| Deadline { at, clock: shared.clock.clone(), timer: None });
        let reply = ResponseBody::new(reply, open, deadline);
        Ok(Response::from_parts(head, reply))
    }
}

impl Shared {
    fn configure(&self, timeout: Option<Duration>, sent: &Sent<'_>) -> Call<'_, OkIsSuccess> {
        let mut call = self.service.call();
        if let Some(timeout) = timeout {
            call = call.deadline(timeout);
        }
        if !sent.body.is_whole() {
            // There is one attempt that sends it, and it has all of the time.
            call = call.attempt_timeout(timeout.unwrap_or_else(|| self.service.config().timeout()));
        }
        if let Some(customise) = &self.settings.call {
            call = customise(call, sent.parts);
        }
        let body = Arc::clone(sent.body);
        call.retry_if(move || body.may_repeat())
    }

    async fn attempt(&self, attempt: Attempt, sent: &Sent<'_>) -> Result<Reply, BoxError> {
        let mut channel = self.channel(&attempt, sent.parts).await.map_err(NotSent)?;
        let mut head = sent.parts.clone();
        if let Some(deadline) = sent.deadline {
            let left = timeout::value(deadline.since(self.clock.now()));
            head.headers.insert(timeout::GRPC_TIMEOUT, left);
        }
        if attempt.number() > 1 {
            head.headers.insert(PREVIOUS_ATTEMPTS, HeaderValue::from(attempt.number() - 1));
        }
        let request = Request::from_parts(head, sent.body.of_attempt(attempt.number()));
        let mut response = match channel.call(request).await {
            Ok(response) => response,
            // The engine's own timer knows whether the time was too short to prove anything.
            Err(error) if rules::is_expired_timer(&error) && self.is_over(&attempt, sent) => pending().await,
            Err(error) => return Err(error.into()),
        };
        // A head without a status says nothing about other attempts.
        let code = rules::code(response.headers());
        if let Some(code) = code {
            // The server's timer for the same time.
            if rules::is_timer(code, response.headers()) && self.is_over(&attempt, sent) {
                pending::<()>().await;
            }
            if rules::pushback(response.headers()) == Some(Pushback::Never) {
                sent.body.forbid();
            }
            drop_bad_details(response.headers_mut());
        }
        response.extensions_mut().insert(AnsweredBy::new(&attempt));
        Ok(Reply { response, code })
    }

    /// Whether the time of the attempt or of the call has passed, so that the engine ends the attempt, too.
    fn is_over(&self, attempt: &Attempt, sent: &Sent<'_>) -> bool {
        let now = self.clock.now() + BOTH_EXPIRED;
        attempt.time_left() < BOTH_EXPIRED || sent.deadline.is_some_and(|deadline| deadline <= now)
    }

    /// Returns a channel to the endpoint that is ready for one call.
    async fn channel(&self, attempt: &Attempt, parts: &Parts) -> Result<Channel, BoxError> {
        let endpoint = attempt.endpoint();
        let scheme = endpoints::scheme(endpoint, &self.settings, parts.uri.scheme())?;
        let kept = match self.channels.get(endpoint) {
            Some(kept) => kept,
            None => {
                // Another call may make one, too: the first one stored is used by both.
                let made = endpoints::channel(endpoint, &self.settings, &scheme)?;
                self.channels.get_or_init(endpoint, |_| made)
            }
        };
        let mut channel = Channel::clone(&kept);
        if let Err(error) = poll_fn(|context| channel.poll_ready(context)).await {
            // Its task is gone, with the runtime that it was made in.
            self.channels.remove_if_same(endpoint, &kept);
            return Err(error.into());
        }
        Ok(channel)
    }
}

/// Returns the last reply of a call that failed, or the status of one without a reply.
fn last_reply(mut error: CallError<BoxError, Reply>, body: &Outgoing) -> Result<Reply, Status> {
    let replied = error.last_reply().is_some() && !error::is_late(&error);
    if replied {
        return Ok(error.into_last_reply().expect("it was there just now"));
    }
    match error.last_error() {
        Some(_) if body.has_failed() => {
            Err(Status::from_error(error.into_last_error().expect("it was there just now")))
        }
        _ => Err(error::status(error.without_reply())),
    }
}
