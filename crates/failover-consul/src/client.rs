//! The client of the agent. Every request goes through it, with its deadline, size limit and token.

use std::io::{self, Write};

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use failover_core::provider::{ConnectionInfo, ConnectionStatus};
use failover_core::{Error, ErrorKind, Time, codes};
use failover_provider_kit::{Backoff, Reconnect, Secret, Timing};
use flate2::write::GzDecoder;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, USER_AGENT};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client as Http;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::timeout;

use crate::error;
use crate::settings::Settings;
use crate::wire::Call;
use crate::wire::answer::{Answer, read_head};

const CONNECT: Duration = Duration::from_secs(2);
const KEEPALIVE: Duration = Duration::from_secs(15);
/// Time allowed beyond the requested wait, for the server's own delay and the round trip.
const SLACK: Duration = Duration::from_secs(15);
/// How long an idle connection is kept.
const IDLE: Duration = Duration::from_secs(90);
const AGENT: &str = concat!("failover-consul/", env!("CARGO_PKG_VERSION"));

/// One agent.
#[derive(Debug)]
pub(crate) struct Client {
    http: Http<HttpsConnector<HttpConnector>, Full<Bytes>>,
    pub(crate) settings: Arc<Settings>,
    /// For requests that are not watches.
    request_permits: Semaphore,
    /// For heartbeats, separate because servers without a leader delay all reads.
    heartbeat_permits: Option<Semaphore>,
    /// For blocking queries.
    watch_permits: Semaphore,
    status: AtomicU8,
    /// Notified when the agent answers again after a failure.
    back: Notify,
    /// When a connection was last refused.
    refused: std::sync::Mutex<Option<Time>>,
    /// Notices that an agent which was unreachable accepts connections again.
    pub(crate) reconnect: Reconnect,
    pub(crate) timing: Timing,
    open: watch::Sender<bool>,
    requests: AtomicU64,
    bytes: AtomicU64,
}

/// The time limit of a response.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Limit {
    /// The configured deadline.
    Short,
    /// A blocking query that the server may hold for this long.
    Wait(Duration),
}

impl Client {
    pub(crate) fn new(settings: Settings, tls: rustls::ClientConfig, timing: Timing) -> Self {
        let (host, port) = settings.address.socket();
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let reconnect = Reconnect::new(Some(format!("{host}:{port}")), timing.clone());
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT.min(settings.deadline)));
        tcp.set_keepalive(Some(KEEPALIVE));
        // HTTP/2 is off: its streams would block one another. The connector follows neither proxies
        // nor redirects, so neither the environment nor a response can divert the token.
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let http = Http::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(settings.connections)
            .build(connector);
        let short = (settings.connections / 4).clamp(1, 16);
        let beats = short / 4;
        Self {
            http,
            request_permits: Semaphore::new(short - beats),
            heartbeat_permits: (beats > 0).then(|| Semaphore::new(beats)),
            watch_permits: Semaphore::new(settings.connections - short),
            settings: Arc::new(settings),
            status: AtomicU8::new(DISCONNECTED),
            back: Notify::new(),
            refused: std::sync::Mutex::default(),
            reconnect,
            timing,
            open: watch::Sender::new(true),
            requests: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }

    /// Sends a request and returns the response, whatever its status.
    ///
    /// # Errors
    ///
    /// Returns an error if no complete response arrives in time, or immediately if the provider is
    /// closed.
    pub(crate) async fn ask(&self, call: Call, limit: Limit) -> Result<Answer, Error> {
        let mut open = self.open.subscribe();
        let deadline = self.settings.deadline;
        let asking = async {
            let trying = self.try_twice(&call, limit);
            let answer = match limit {
                // A request that waits for a permit holds no connection; the wait counts towards
                // the deadline.
                Limit::Short => timeout(deadline, trying)
                    .await
                    .unwrap_or_else(|_| Err(Error::timed_out(&call.what, deadline))),
                Limit::Wait(_) => trying.await,
            };
            self.note(&answer, call.is_state);
            answer
        };
        tokio::select! {
            biased;
            () = closing(&mut open) => Err(error::closed()),
            answer = asking => answer,
        }
    }

    /// Sends a request like [`ask`](Self::ask), and treats any status but 200 as an error.
    pub(crate) async fn done(&self, call: Call) -> Result<Answer, Error> {
        let what = call.what.clone();
        let answer = self.ask(call, Limit::Short).await?;
        if answer.status == 200 { Ok(answer) } else { Err(error::of_status(&what, &answer)) }
    }

    /// Sends a request, and again if the token was refused and the source has another one.
    async fn try_twice(&self, call: &Call, limit: Limit) -> Result<Answer, Error> {
        let (begun, deadline) = (self.timing.now(), self.settings.deadline);
        let _place = match limit {
            Limit::Short => {
                let places =
                    self.heartbeat_permits.as_ref().filter(|_| call.is_beat).unwrap_or(&self.request_permits);
                Some(places.acquire().await.map_err(|_| error::closed())?)
            }
            Limit::Wait(_) => None,
        };
        // Other requests that wait since the same moment have expired, too; sending would only pass
        // the permit on.
        if matches!(limit, Limit::Short) && self.timing.now().since(begun) >= deadline {
            return Err(Error::timed_out(&call.what, deadline));
        }
        let answer = self.send(call, limit).await?;
        let is_refused = matches!(answer.status, 401 | 403);
        if is_refused && self.settings.token.renewed(answer.token.as_ref()).await {
            return self.send(call, limit).await;
        }
        Ok(answer)
    }

    async fn send(&self, call: &Call, limit: Limit) -> Result<Answer, Error> {
        let deadline = self.settings.deadline;
        let head = match limit {
            Limit::Short => deadline,
            Limit::Wait(wait) => wait + wait / 16 + SLACK,
        };
        let token = self.settings.token.current().await;
        let request = self.request(call, token.as_ref())?;
        self.requests.fetch_add(1, Ordering::Relaxed);
        let what = &call.what;
        let sent =
            timeout(head, self.http.request(request)).await.map_err(|_| Error::timed_out(what, head))?;
        let response = sent.map_err(|error| error::of_transport(what, &error, error.is_connect()))?;
        let mut answer = read_head(response.status().as_u16(), response.headers());
        answer.token = token;
        let is_packed = response.headers().get(CONTENT_ENCODING).is_some_and(|value| value == "gzip");
        let reading = self.read(what, response.into_body(), is_packed);
        answer.body = timeout(deadline, reading).await.map_err(|_| Error::timed_out(what, deadline))??;
        self.bytes.fetch_add(answer.body.len() as u64, Ordering::Relaxed);
        Ok(answer)
    }

    fn request(&self, call: &Call, token: Option<&Secret>) -> Result<http::Request<Full<Bytes>>, Error> {
        let mut request = http::Request::new(Full::new(Bytes::from(call.body.clone())));
        request.method_mut().clone_from(&call.method);
        let url = format!("{}{}", self.settings.address.base(), call.target);
        *request.uri_mut() = url.parse().map_err(|error| {
            Error::new(ErrorKind::Internal, format!("{}: the request cannot be made: {error}", call.what))
        })?;
        let headers = request.headers_mut();
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        if !call.body.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Some(token) = token {
            let mut value = HeaderValue::from_str(token.expose())
                .map_err(|_| Error::new(ErrorKind::Validation, "the token cannot stand in a header"))?;
            value.set_sensitive(true);
            headers.insert("x-consul-token", value);
        }
        Ok(request)
    }

    async fn read(&self, what: &str, mut body: Incoming, is_packed: bool) -> Result<Vec<u8>, Error> {
        let most = self.settings.answer_bytes;
        let mut out = if is_packed {
            Unpacking::Packed(Box::new(GzDecoder::new(Capped { bytes: Vec::new(), most })))
        } else {
            Unpacking::Plain(Capped { bytes: Vec::new(), most })
        };
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| error::of_transport(what, &error, false))?;
            let Some(data) = frame.data_ref() else { continue };
            let written = match &mut out {
                Unpacking::Plain(out) => out.write_all(data),
                Unpacking::Packed(out) => out.write_all(data),
            };
            written.map_err(|error| too_large_or_broken(what, most, &error))?;
        }
        match out {
            Unpacking::Plain(out) => Ok(out.bytes),
            Unpacking::Packed(out) => {
                out.finish().map(|out| out.bytes).map_err(|error| too_large_or_broken(what, most, &error))
            }
        }
    }

    fn note(&self, answer: &Result<Answer, Error>, is_state: bool) {
        if answer.as_ref().is_err_and(|error| error.code() == codes::CONNECTION_ERROR) {
            *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.timing.now());
        }
        let answered = answer.as_ref().is_ok_and(|answer| answer.status < 500 || is_state);
        let before = self.status.swap(if answered { CONNECTED } else { FAILED }, Ordering::Relaxed);
        if answered && before == FAILED {
            self.back.notify_waiters();
        }
    }

    /// Returns the permit of a watch that waits, if one is left.
    pub(crate) fn watch_permit(&self) -> Option<tokio::sync::SemaphorePermit<'_>> {
        self.watch_permits.try_acquire().ok()
    }

    /// Waits for `pause`, or until the agent answers any request again; returns whether it did.
    pub(crate) async fn pause(&self, pause: Duration) -> bool {
        tokio::select! {
            () = self.back.notified() => {
                tokio::time::sleep(self.timing.jittered(Duration::from_millis(50), 0.1)).await;
                true
            }
            () = tokio::time::sleep(pause) => false,
        }
    }

    /// Waits for `pause` after a refused connection. While other requests are refused, too, the pause
    /// is extended, so that many services together ask about as often as one.
    pub(crate) async fn pause_unreachable(&self, mut pause: Duration, backoff: &mut Backoff) {
        loop {
            let since = self.timing.now();
            let refused = || *self.refused.lock().unwrap_or_else(PoisonError::into_inner);
            if self.pause(pause).await || refused().is_none_or(|at| at <= since) {
                return;
            }
            pause = backoff.after_failure(self.timing.now(), self.timing.unit());
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        *self.open.borrow()
    }

    pub(crate) fn set_open(&self, open: bool) {
        self.open.send_replace(open);
        if !open {
            self.status.store(DISCONNECTED, Ordering::Relaxed);
        }
    }

    pub(crate) fn connection(&self) -> ConnectionInfo {
        let status = match self.status.load(Ordering::Relaxed) {
            CONNECTED => ConnectionStatus::Connected,
            FAILED => ConnectionStatus::Error,
            _ => ConnectionStatus::Disconnected,
        };
        ConnectionInfo::new(status).with_address(self.settings.address.base())
    }

    /// Returns the requests sent and the bytes of responses after decompression.
    pub(crate) fn traffic(&self) -> (u64, u64) {
        (self.requests.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }
}

const DISCONNECTED: u8 = 0;
const CONNECTED: u8 = 1;
const FAILED: u8 = 2;

/// Resolves when the provider is closed.
async fn closing(open: &mut watch::Receiver<bool>) {
    if open.wait_for(|open| !open).await.is_err() {
        std::future::pending::<()>().await;
    }
}

enum Unpacking {
    Plain(Capped),
    Packed(Box<GzDecoder<Capped>>),
}

/// Accepts at most `most` bytes.
struct Capped {
    bytes: Vec<u8>,
    most: usize,
}

impl Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.most {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn too_large_or_broken(what: &str, most: usize, error: &io::Error) -> Error {
    if error.kind() == io::ErrorKind::FileTooLarge {
        return Error::answer_too_large(what, most, Some("answer_bytes"));
    }
    Error::bad_answer(what, "it is not packed as it says")
}
