//! The client of the agent. Every request goes through it, with its deadline, size limit and token.

mod sharing;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use failover_core::Error;
use failover_core::provider::{ConnectionInfo, ConnectionStatus};
use failover_provider_kit::{
    Dialer, HttpClient, HttpClientBuilder, HttpError, HttpOption, Reconnect, Secret, Timing, Tls,
};
use http::header::{CONTENT_TYPE, HeaderValue};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::timeout;

use crate::connections::WatchConnections;
use crate::error;
use crate::outage::{Outage, Outages, Sign};
use crate::settings::Settings;
use crate::wire::Call;
use crate::wire::answer::{Answer, read_head};

const CONNECT: Duration = Duration::from_secs(2);
/// Time allowed beyond the requested wait, for the server's own delay and the round trip.
const SLACK: Duration = Duration::from_secs(15);
/// How long an idle connection is kept: longer than the interval of heartbeats and polls, and not much,
/// because the agent has few connections for all processes.
const IDLE: Duration = Duration::from_secs(15);
/// The most registrations that are watched by long polls; the others are looked at now and then.
const MAX_GUARDS: usize = 4;
const AGENT: &str = concat!("failover-consul/", env!("CARGO_PKG_VERSION"));

/// One agent.
#[derive(Debug)]
pub(crate) struct Client {
    http: HttpClient,
    pub(crate) settings: Arc<Settings>,
    /// For requests that are not watches.
    request_permits: Semaphore,
    half_of_requests: u32,
    /// For heartbeats, separate because servers without a leader delay all reads.
    heartbeat_permits: Option<Semaphore>,
    /// For blocking queries.
    pub(crate) connections: WatchConnections,
    /// For long polls of the agent about what is registered with it.
    pub(crate) guard_permits: Semaphore,
    status: AtomicU8,
    /// Notified when the agent answers again after a failure.
    back: Notify,
    /// Notified when an agent that was unreachable answers again.
    pub(crate) returned: Notify,
    pub(crate) outages: Outages,
    /// Notices that an agent which was unreachable accepts connections again.
    pub(crate) reconnect: Reconnect,
    /// The same, sooner, for registrations that such an agent may have lost.
    pub(crate) arrival: Reconnect,
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
    /// # Errors
    ///
    /// Returns an error for a setting that the HTTP client refuses.
    pub(crate) fn new(settings: Settings, tls: Option<Tls>, timing: Timing) -> Result<Self, Error> {
        let reconnect = Reconnect::new(Some(settings.address.authority()), timing.clone());
        let arrival = Reconnect::new(Some(settings.address.authority()), timing.clone()).eager();
        // HTTP/2 is off: its streams would block one another.
        let http = HttpClient::builder()
            .dialer(Dialer::new().with_connect_timeout(CONNECT.min(settings.deadline)))
            .deadline(settings.deadline)
            .max_body_bytes(settings.answer_bytes)
            .idle_connections(settings.connections, IDLE)
            .user_agent(AGENT)
            .option_name(HttpOption::Authority, "ca_file")
            .option_name(HttpOption::ClientCertificate, "client_certificate")
            .option_name(HttpOption::MaxBodyBytes, "answer_bytes");
        let http = tls.into_iter().fold(http, HttpClientBuilder::tls).build()?;
        let short = (settings.connections / 4).clamp(1, 16);
        let beats = short / 4;
        let guards = (settings.connections / 25).min(MAX_GUARDS);
        Ok(Self {
            http,
            request_permits: Semaphore::new(short - beats),
            half_of_requests: u32::try_from((short - beats) / 2).unwrap_or(1).max(1),
            heartbeat_permits: (beats > 0).then(|| Semaphore::new(beats)),
            connections: WatchConnections::new(settings.connections - short - guards),
            guard_permits: Semaphore::new(guards),
            settings: Arc::new(settings),
            status: AtomicU8::new(DISCONNECTED),
            back: Notify::new(),
            returned: Notify::new(),
            outages: Outages::default(),
            reconnect,
            arrival,
            timing,
            open: watch::Sender::new(true),
            requests: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        })
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
            // On the heap: the caller's future stays small.
            let trying = Box::pin(self.try_with_room(&call, limit));
            let answer = match limit {
                // A request that waits for a permit holds no connection; the wait counts towards
                // the deadline.
                Limit::Short => timeout(deadline, trying)
                    .await
                    .unwrap_or_else(|_| Err(self.timed_out(&call.what, deadline))),
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
    pub(crate) async fn try_twice(&self, call: &Call, limit: Limit) -> Result<Answer, Error> {
        let (begun, deadline) = (self.timing.now(), self.settings.deadline);
        let _place = match limit {
            Limit::Short => {
                let beats = self.heartbeat_permits.as_ref().filter(|_| call.is_beat);
                // While the agent has no connections to spare, two at a time make do with two.
                let size = if self.connections.is_short() { self.half_of_requests } else { 1 };
                let (places, size) = beats.map_or((&self.request_permits, size), |beats| (beats, 1));
                Some(places.acquire_many(size).await.map_err(|_| error::closed())?)
            }
            Limit::Wait(_) => None,
        };
        // Other requests that wait since the same moment have expired, too; sending would only pass
        // the permit on.
        if matches!(limit, Limit::Short) && self.timing.now().since(begun) >= deadline {
            return Err(self.timed_out(&call.what, deadline));
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
        let failed = |error: HttpError| self.failed(&call.what, error);
        let mut response = self.http.send_within(request, head).await.map_err(failed)?;
        let mut answer = read_head(response.status().as_u16(), response.headers());
        answer.token = token;
        answer.body = response.read().await.map_err(failed)?;
        self.bytes.fetch_add(answer.body.len() as u64, Ordering::Relaxed);
        Ok(answer)
    }

    /// Returns the error of a request that had no answer, with the address and where it came from.
    fn failed(&self, what: &str, error: HttpError) -> Error {
        let (text, address) = (error.to_string(), error.address().to_owned());
        let error = error.into_error(what);
        if address.is_empty() || !text.contains(&address) {
            return error;
        }
        let shown = format!("{address} ({})", self.settings.origin.text());
        let text = text.replacen(&address, &shown, 1);
        Error::new(error.kind(), format!("{what}: {text}")).with_code(error.code()).with_retry(error.retry())
    }

    /// Returns the error of an operation that was not done in time.
    pub(crate) fn timed_out(&self, what: &str, limit: Duration) -> Error {
        let (address, origin) = (self.settings.address.as_str(), self.settings.origin.text());
        Error::timed_out(format!("{what} at {address} ({origin})"), limit)
    }

    fn request(&self, call: &Call, token: Option<&Secret>) -> Result<http::Request<Bytes>, Error> {
        let mut request = http::Request::new(Bytes::from(call.body.clone()));
        request.method_mut().clone_from(&call.method);
        *request.uri_mut() = self.settings.address.join(&call.target)?;
        let headers = request.headers_mut();
        if !call.body.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Some(token) = token {
            headers.insert("x-consul-token", token.header("")?);
        }
        Ok(request)
    }

    fn note(&self, answer: &Result<Answer, Error>, is_state: bool) {
        let (sign, now) = (Sign::of(answer, is_state), self.timing.now());
        if let Sign::Bad(outage @ (Outage::Unreachable | Outage::Limited)) = sign {
            self.outages.note(outage, now);
        }
        let is_bad = matches!(sign, Sign::Bad(_));
        self.status.store(if is_bad { FAILED } else { CONNECTED }, Ordering::Relaxed);
        let ended = self.outages.take(sign, now);
        if ended.failing {
            self.back.notify_waiters();
        }
        if ended.gone {
            self.returned.notify_waiters();
        }
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
        ConnectionInfo::new(status).with_address(self.settings.address.as_str())
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
