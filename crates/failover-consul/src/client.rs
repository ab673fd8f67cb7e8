//! The wire to the agent: every request goes through here, with its deadline, its cap and its token.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use failover_core::{ConnectionInfo, ConnectionStatus, Error, ErrorKind};
use reqwest::header::{HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::timeout;

use crate::config::Settings;
use crate::error;
use crate::secret::Secret;
use crate::wire::Call;

const CONNECT: Duration = Duration::from_secs(2);
const KEEPALIVE: Duration = Duration::from_secs(15);
/// What a server may add to the time that it was told to wait, and the way there and back.
const SLACK: Duration = Duration::from_secs(15);
const MOST_RETRY_AFTER: u64 = 300;

/// One agent.
#[derive(Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    pub(crate) settings: Settings,
    /// For requests that are no watches.
    short: Semaphore,
    /// For watches that wait for a change.
    long: Semaphore,
    status: AtomicU8,
    /// Told when the agent answers again after it did not.
    back: Notify,
    open: watch::Sender<bool>,
    requests: AtomicU64,
    bytes: AtomicU64,
}

/// What came back, whatever its status.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    /// `X-Consul-Index`, if it is a number.
    pub(crate) index: Option<u64>,
    pub(crate) known_leader: Option<bool>,
    pub(crate) last_contact: Duration,
    /// Which part of the server answered; older servers do not say.
    pub(crate) backend: Option<String>,
    /// The server says that it left something out for lack of permission.
    pub(crate) filtered: bool,
    pub(crate) retry_after: Option<Duration>,
    /// The token that was sent.
    pub(crate) token: Option<Secret>,
}

impl Answer {
    pub(crate) fn is_streaming(&self) -> bool {
        self.backend.as_deref() == Some("streaming")
    }
}

/// How long an answer may take.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Limit {
    /// The deadline that is set.
    Short,
    /// A watch that the server may hold for so long.
    Wait(Duration),
}

impl Client {
    pub(crate) fn new(settings: Settings, tls: Option<rustls::ClientConfig>) -> Result<Self, Error> {
        // Without HTTP/2, whose streams would stand in each other's way; without a proxy and without redirects, so
        // that no environment and no answer sends the token elsewhere.
        let mut builder = reqwest::Client::builder()
            .http1_only()
            .no_proxy()
            .redirect(Policy::none())
            .referer(false)
            .gzip(true)
            .connect_timeout(CONNECT.min(settings.deadline))
            .tcp_keepalive(KEEPALIVE)
            .user_agent(concat!("failover-consul/", env!("CARGO_PKG_VERSION")));
        if let Some(tls) = tls {
            builder = builder.tls_backend_preconfigured(tls);
        } else {
            builder = builder.tls_backend_preconfigured(no_tls()?);
        }
        let http = builder.build().map_err(|error| {
            Error::new(ErrorKind::Internal, format!("the HTTP client: {}", error.without_url()))
        })?;
        let short = (settings.connections / 4).clamp(1, 16);
        Ok(Self {
            http,
            short: Semaphore::new(short),
            long: Semaphore::new(settings.connections - short),
            settings,
            status: AtomicU8::new(DISCONNECTED),
            back: Notify::new(),
            open: watch::Sender::new(true),
            requests: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        })
    }

    /// Asks, and answers whatever the status is.
    ///
    /// # Errors
    ///
    /// When there is no whole answer in time; when the provider is closed, at once.
    pub(crate) async fn ask(&self, call: Call, limit: Limit) -> Result<Answer, Error> {
        let mut open = self.open.subscribe();
        let asking = async {
            // Who waits here holds no connection; the wait counts like the answer.
            let permits = match limit {
                Limit::Short => Some(
                    timeout(self.settings.deadline, self.short.acquire())
                        .await
                        .map_err(|_| error::of_time(&call.what, self.settings.deadline))?,
                ),
                Limit::Wait(_) => None,
            };
            let answer = self.send(&call, limit).await;
            drop(permits);
            self.note(&answer);
            answer
        };
        tokio::select! {
            biased;
            () = closing(&mut open) => Err(error::closed()),
            answer = asking => answer,
        }
    }

    /// As [`ask`](Self::ask), and every status but success is an error.
    pub(crate) async fn done(&self, call: Call) -> Result<Answer, Error> {
        let what = call.what.clone();
        let answer = self.ask(call, Limit::Short).await?;
        if answer.status == 200 { Ok(answer) } else { Err(error::of_status(&what, &answer)) }
    }

    async fn send(&self, call: &Call, limit: Limit) -> Result<Answer, Error> {
        let deadline = self.settings.deadline;
        let head = match limit {
            Limit::Short => deadline,
            Limit::Wait(wait) => wait + wait / 16 + SLACK,
        };
        let token = self.settings.token.current()?;
        let url = format!("{}{}", self.settings.address.base(), call.target);
        let mut request = self.http.request(call.method.clone(), url).body(call.body.clone());
        if let Some(token) = &token {
            let mut value = HeaderValue::from_str(token.expose())
                .map_err(|_| Error::new(ErrorKind::Validation, "the token cannot stand in a header"))?;
            value.set_sensitive(true);
            request = request.header("x-consul-token", value);
        }
        self.requests.fetch_add(1, Ordering::Relaxed);
        let what = &call.what;
        let sent = timeout(head, request.send()).await.map_err(|_| error::of_time(what, head))?;
        let mut response = sent.map_err(|error| error::of_transport(what, error))?;
        let mut answer = read_head(response.status().as_u16(), response.headers());
        answer.token = token;
        let most = self.settings.answer_bytes;
        let reading = async {
            while let Some(chunk) =
                response.chunk().await.map_err(|error| error::of_transport(what, error))?
            {
                if answer.body.len() + chunk.len() > most {
                    return Err(error::of_size(what, most));
                }
                answer.body.extend_from_slice(&chunk);
            }
            Ok(())
        };
        timeout(deadline, reading).await.map_err(|_| error::of_time(what, deadline))??;
        self.bytes.fetch_add(answer.body.len() as u64, Ordering::Relaxed);
        Ok(answer)
    }

    fn note(&self, answer: &Result<Answer, Error>) {
        let answered = answer.as_ref().is_ok_and(|answer| answer.status < 500);
        let before = self.status.swap(if answered { CONNECTED } else { FAILED }, Ordering::Relaxed);
        if answered && before == FAILED {
            self.back.notify_waiters();
        }
    }

    /// A place among the watches that wait, if there is one.
    pub(crate) fn place(&self) -> Option<tokio::sync::SemaphorePermit<'_>> {
        self.long.try_acquire().ok()
    }

    /// Waits for so long, but not longer than until the agent answers somebody again.
    pub(crate) async fn pause(&self, pause: Duration) {
        tokio::select! {
            () = self.back.notified() => tokio::time::sleep(crate::pace::jittered(Duration::from_millis(50))).await,
            () = tokio::time::sleep(pause) => {}
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

    /// Requests that were sent, and bytes of answers, unpacked.
    pub(crate) fn traffic(&self) -> (u64, u64) {
        (self.requests.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }
}

const DISCONNECTED: u8 = 0;
const CONNECTED: u8 = 1;
const FAILED: u8 = 2;

/// Ends when the provider is closed.
async fn closing(open: &mut watch::Receiver<bool>) {
    if open.wait_for(|open| !open).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// For plain HTTP: without it the HTTP client would look for a process-wide TLS provider, which is not ours to install.
fn no_tls() -> Result<rustls::ClientConfig, Error> {
    let ring = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::new(ErrorKind::Internal, format!("TLS: {error}")))?;
    Ok(builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth())
}

fn read_head(status: u16, headers: &HeaderMap) -> Answer {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let number = |name: &str| text(name).and_then(|value| value.trim().parse::<u64>().ok());
    Answer {
        status,
        index: number("x-consul-index"),
        known_leader: text("x-consul-knownleader").and_then(|value| value.parse().ok()),
        last_contact: Duration::from_millis(number("x-consul-lastcontact").unwrap_or(0)),
        backend: text("x-consul-query-backend").map(str::to_owned),
        filtered: text("x-consul-results-filtered-by-acls") == Some("true"),
        // Dates are not read: the clocks of two machines differ.
        retry_after: number(RETRY_AFTER.as_str()).map(|s| Duration::from_secs(s.min(MOST_RETRY_AFTER))),
        ..Answer::default()
    }
}
