//! Requests to the API server. Each has a deadline, none is retried implicitly, and no response
//! exceeds its size limit.

use std::borrow::Cow;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use failover_core::provider::{AddressTrust, ConnectionInfo, ConnectionStatus};
use failover_core::{Error, ErrorKind};
use failover_provider_kit::{Deadline, Reconnect, Timing, read_body};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use kube::client::Body;
use rustls::crypto::{CryptoProvider, ring};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::auth::Auth;
use crate::credentials::{Credentials, Server};
use crate::error;
use crate::server_url::is_loopback;
use crate::signal::SharedSignal;

/// The maximum size of a response, many times a page of full slices.
const MAX_BYTES: usize = 64 * 1024 * 1024;
/// The maximum size of a watch event: the API accepts objects of at most 3 MiB.
const MAX_LINE: usize = 8 * 1024 * 1024;
/// The maximum size of an error's body.
const MAX_ERROR: usize = 64 * 1024;

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct ApiRequest {
    pub(crate) method: Method,
    /// Path and query, encoded.
    pub(crate) target: String,
    /// The media type and the body.
    pub(crate) body: Option<(&'static str, Value)>,
    /// Its purpose, for error messages: `list endpointslices in namespace shop`.
    pub(crate) what: String,
}

impl ApiRequest {
    pub(crate) fn get(target: String, what: String) -> Self {
        Self { method: Method::GET, target, body: None, what }
    }

    fn request(&self) -> Result<Request<Body>, Error> {
        let bytes = match &self.body {
            None => Vec::new(),
            Some((_, object)) => serde_json::to_vec(object)
                .map_err(|error| Error::bad_answer(&self.what, error.to_string()))?,
        };
        let mut builder = Request::builder().method(&self.method).uri(&self.target);
        builder = builder.header(header::ACCEPT, "application/json");
        if let Some((kind, _)) = &self.body {
            builder = builder.header(header::CONTENT_TYPE, *kind);
        }
        builder.body(Body::from(bytes)).map_err(|error| {
            Error::new(ErrorKind::Internal, format!("{}: the request cannot be built: {error}", self.what))
        })
    }
}

/// The client of one API server.
#[derive(Debug)]
pub(crate) struct ApiClient {
    access: Auth,
    deadline: Duration,
    namespace: String,
    /// Where server and credentials are configured.
    origin: String,
    /// Without credentials; `None` for a client that was passed in.
    url: Option<String>,
    /// `host:port` of the server, if it is known.
    address: Option<Arc<str>>,
    /// Detects that a server behind something that accepts and breaks connections answers again.
    answers: SharedSignal,
    /// Detects that an unreachable server accepts connections again.
    pub(crate) reconnect: Reconnect,
    pub(crate) timing: Timing,
    trust: AddressTrust,
    status: AtomicU8,
    phase: watch::Sender<Phase>,
}

/// Whether requests are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// Only for operations in progress.
    Closing,
    Closed,
}

impl ApiClient {
    /// Reads the configuration. Sends no request.
    pub(crate) async fn open(
        credentials: Credentials,
        dangerous: bool,
        deadline: Duration,
    ) -> Result<Self, Error> {
        let timing = Timing::tokio();
        if CryptoProvider::get_default().is_none() {
            // kube uses the process's default provider, and rustls has none if several are compiled
            // in. Another thread may install one first; any will do.
            let _ = ring::default_provider().install_default();
        }
        let (access, Server { namespace, url, origin }) =
            Auth::open(credentials, dangerous, deadline, timing.clone()).await?;
        let here = url.as_ref().and_then(http::Uri::host).is_some_and(is_loopback);
        let address = url.as_ref().and_then(|url| {
            let port = url.port_u16().unwrap_or(if url.scheme_str() == Some("http") { 80 } else { 443 });
            Some(format!("{}:{port}", url.host()?))
        });
        let shown = url.map(|url| {
            let port = url.port_u16().map_or_else(String::new, |port| format!(":{port}"));
            format!("{}://{}{port}", url.scheme_str().unwrap_or("https"), url.host().unwrap_or_default())
        });
        Ok(Self {
            access,
            deadline,
            namespace,
            origin,
            url: shown,
            address: address.as_deref().map(Arc::from),
            answers: SharedSignal::new(&timing),
            reconnect: Reconnect::new(address, timing.clone()),
            timing,
            trust: if here { AddressTrust::Loopback } else { AddressTrust::Remote },
            status: AtomicU8::new(Status::Disconnected as u8),
            phase: watch::Sender::new(Phase::Open),
        })
    }

    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Names the server and where it is configured, for messages.
    pub(crate) fn named(&self) -> String {
        match &self.url {
            Some(url) => format!("{url} (from {})", self.origin),
            None => format!("the server of {}", self.origin),
        }
    }

    /// Adds to the purpose of a request where it went.
    fn at(&self, what: &str) -> String {
        let named = self.named();
        if what.contains(&named) { what.to_owned() } else { format!("{what} at {named}") }
    }

    /// Waits until the cause of an error may be gone: the server is reachable again, or refused
    /// credentials were replaced on disk. Resolves within 2 s of the latter and 5 s of the former,
    /// and never for errors without such a sign.
    pub(crate) async fn until_mended(&self, error: &Error) {
        if error::is_unauthenticated(error) {
            self.access.until_changed().await;
        } else if error::status(error).is_some() {
            pending::<()>().await;
        } else if error::is_lost(error) {
            // That something accepts connections is no proof.
            let address = self.address.clone();
            self.answers.wait(Box::pin(self.access.until_answered(address))).await;
        } else {
            self.reconnect.wait(error::is_gone(error)).await;
        }
    }

    pub(crate) fn deadline(&self) -> Duration {
        self.deadline
    }

    pub(crate) fn trust(&self) -> AddressTrust {
        self.trust
    }

    pub(crate) fn info(&self) -> ConnectionInfo {
        let status = match self.status.load(Ordering::Relaxed) {
            connected if connected == Status::Connected as u8 => ConnectionStatus::Connected,
            failed if failed == Status::Failed as u8 => ConnectionStatus::Error,
            _ => ConnectionStatus::Disconnected,
        };
        let info = ConnectionInfo::new(status);
        match &self.url {
            Some(url) => info.with_address(url.as_str()),
            None => info,
        }
    }

    /// Returns whether new operations are allowed.
    pub(crate) fn is_open(&self) -> bool {
        *self.phase.borrow() == Phase::Open
    }

    /// Returns an error once closing has started.
    pub(crate) fn ensure_open(&self) -> Result<(), Error> {
        if self.is_open() { Ok(()) } else { Err(closed()) }
    }

    pub(crate) fn reopen(&self) {
        self.phase.send_replace(Phase::Open);
    }

    /// Starts closing: new operations are refused, and those in progress are aborted when the
    /// returned guard is dropped. Returns `None` if it is already closing or closed.
    pub(crate) fn close(&self) -> Option<Closing<'_>> {
        let closes = |phase: &mut Phase| {
            let was_open = *phase == Phase::Open;
            if was_open {
                *phase = Phase::Closing;
            }
            was_open
        };
        self.phase.send_if_modified(closes).then(|| Closing(self))
    }

    /// Runs `work` until the provider is closed.
    async fn until_closed<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let mut phase = self.phase.subscribe();
        let ended = async { drop(phase.wait_for(|phase| *phase == Phase::Closed).await) };
        tokio::select! {
            biased;
            () = ended => Err(closed()),
            done = work => done,
        }
    }

    /// Waits for a resource that another operation of this process holds, at most for the deadline
    /// of a request.
    pub(crate) async fn wait_for<T>(&self, what: &str, work: impl Future<Output = T>) -> Result<T, Error> {
        let late = || {
            let message =
                format!("{what} is still being written by another request after {:?}", self.deadline);
            Error::new(ErrorKind::Timeout, message)
        };
        let waits = async { timeout(self.deadline, work).await.map_err(|_| late()) };
        self.until_closed(waits).await
    }

    /// Sleeps, unless the provider is closed meanwhile.
    pub(crate) async fn pause(&self, time: Duration) -> Result<(), Error> {
        self.until_closed(async {
            sleep(time).await;
            Ok(())
        })
        .await
    }

    /// Sends a request and reads the whole response within the deadline. An error status is an
    /// error.
    pub(crate) async fn ask(&self, ask: &ApiRequest) -> Result<Vec<u8>, Error> {
        self.ask_within(ask, self.deadline).await
    }

    pub(crate) async fn ask_within(&self, ask: &ApiRequest, limit: Duration) -> Result<Vec<u8>, Error> {
        let asked = async {
            let answer = self.answer(ask).await?;
            read(answer, MAX_BYTES, &ask.what).await
        };
        let deadline = Deadline::after(&self.timing, limit);
        let result = self.until_closed(deadline.enforce(&ask.what, Box::pin(asked))).await;
        self.note(result.as_ref().err());
        result
    }

    /// Sends a request and parses the response as JSON.
    pub(crate) async fn object(&self, ask: &ApiRequest) -> Result<Value, Error> {
        let bytes = self.ask(ask).await?;
        serde_json::from_slice(&bytes).map_err(|error| Error::bad_answer(&ask.what, error.to_string()))
    }

    /// Opens a watch. Its head must arrive within the deadline; events follow, one per line.
    pub(crate) async fn events(&self, ask: &ApiRequest) -> Result<EventReceiver, Error> {
        let deadline = Deadline::after(&self.timing, self.deadline);
        let opened = self.until_closed(deadline.enforce(&ask.what, Box::pin(self.answer(ask)))).await;
        self.note(opened.as_ref().err());
        Ok(EventReceiver::new(opened?.into_body(), ask.what.clone()))
    }

    /// Sends a request and returns a successful response. If the credentials are refused, renews
    /// them and retries once.
    async fn answer(&self, ask: &ApiRequest) -> Result<Response<Body>, Error> {
        let mut again = true;
        loop {
            let (way, generation) = self.access.way().await;
            let mut request = ask.request()?;
            let token = match &way.token {
                Some(file) => Some(file.current().await),
                None => None,
            };
            if let Some(token) = &token {
                request.headers_mut().insert(header::AUTHORIZATION, token.header("Bearer ")?);
            }
            tracing::debug!(target: "failover::k8s", method = %ask.method, path = ask.target, "requesting");
            let sent = way.client.send(request).await;
            let here = |error| error::of_kube(&self.at(&ask.what), &error);
            let answer = sent.map_err(here)?;
            let status = answer.status();
            if status.is_success() {
                return Ok(answer);
            }
            let mut what = Cow::from(&ask.what);
            if status == StatusCode::UNAUTHORIZED {
                self.access.refused(token);
                if std::mem::take(&mut again) && self.access.renew(generation).await? {
                    continue;
                }
                if let Some(expired) = way.expired() {
                    what = format!("{what} ({expired})").into();
                }
            }
            let seconds = answer.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
            let seconds = seconds.and_then(|value| value.trim().parse().ok());
            let body = read(answer, MAX_ERROR, &ask.what).await.unwrap_or_default();
            return Err(error::refused(&what, status.as_u16(), seconds, &body));
        }
    }

    /// Records whether the server answered. A refusal is an answer.
    fn note(&self, error: Option<&Error>) {
        let status = match error {
            None => Status::Connected,
            Some(error) if error.kind() == ErrorKind::Shutdown => Status::Disconnected,
            Some(error) if error::status(error).is_some_and(|code| code < 500) => Status::Connected,
            Some(_) => Status::Failed,
        };
        if self.is_open() {
            self.status.store(status as u8, Ordering::Relaxed);
        }
    }
}

fn closed() -> Error {
    Error::closed("kubernetes")
}

/// The period in which operations in progress may finish; dropping it aborts them.
pub(crate) struct Closing<'a>(&'a ApiClient);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        let ends = |phase: &mut Phase| {
            // The provider may have been opened again meanwhile.
            let closes = *phase == Phase::Closing;
            if closes {
                *phase = Phase::Closed;
            }
            closes
        };
        if self.0.phase.send_if_modified(ends) {
            self.0.access.stop();
            self.0.status.store(Status::Disconnected as u8, Ordering::Relaxed);
        }
    }
}

#[derive(Clone, Copy)]
enum Status {
    Disconnected,
    Connected,
    Failed,
}

async fn read(answer: Response<Body>, most: usize, what: &str) -> Result<Vec<u8>, Error> {
    let (head, body) = answer.into_parts();
    let read = read_body(&head.headers, body, most).await;
    read.map_err(|error| error.into_error(what, |broken| error::of_kube(what, &broken)))
}

/// The events of a watch. Dropping it closes the connection.
pub(crate) struct EventReceiver {
    body: Body,
    buffer: Vec<u8>,
    /// The start of the next event.
    begin: usize,
    /// The length of the prefix known to contain no line end.
    searched: usize,
    what: String,
}

impl EventReceiver {
    fn new(body: Body, what: String) -> Self {
        Self { body, buffer: Vec::new(), begin: 0, searched: 0, what }
    }

    /// Returns the next event, or `None` at the end. Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<Option<Value>, Error> {
        loop {
            if let Some(event) = self.waiting() {
                return event.map(Some);
            }
            if self.buffer.len() > MAX_LINE {
                return Err(Error::bad_answer(
                    &self.what,
                    format!("an event is larger than {MAX_LINE} bytes"),
                ));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.buffer.extend_from_slice(data);
                    }
                }
                Some(Err(error)) => return Err(error::of_kube(&self.what, &error)),
                // The connection broke within an event: the next watch starts before it.
                None => return Ok(None),
            }
        }
    }

    /// Returns an event that has already arrived.
    pub(crate) fn waiting(&mut self) -> Option<Result<Value, Error>> {
        loop {
            let Some(at) = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') else {
                // Once per read, not per line.
                self.buffer.drain(..self.begin);
                self.begin = 0;
                self.searched = self.buffer.len();
                return None;
            };
            let end = self.searched + at;
            let line = &self.buffer[self.begin..end];
            (self.begin, self.searched) = (end + 1, end + 1);
            if !line.iter().all(u8::is_ascii_whitespace) {
                let read = serde_json::from_slice::<Value>(line);
                return Some(read.map_err(|error| Error::bad_answer(&self.what, error.to_string())));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S6: each byte takes one step; the buffer is not copied per line.
    #[tokio::test]
    async fn many_short_lines_at_once_are_read_in_a_time_that_grows_with_them() {
        let mut text = vec![b'\n'; 1_000_000];
        text.extend_from_slice(b"{}\n".repeat(100_000).as_slice());
        text.extend_from_slice(b"{\"half\"");
        let mut events = EventReceiver::new(Body::from(text), "watch".to_owned());
        let timing = Timing::tokio();
        let (begun, mut count) = (timing.now(), 0);
        while let Some(event) = events.next().await.expect("it is JSON") {
            assert!(event.is_object());
            count += 1;
        }
        assert_eq!(count, 100_000);
        let taken = timing.now().since(begun);
        assert!(taken < Duration::from_secs(3), "{taken:?}");
    }
}
