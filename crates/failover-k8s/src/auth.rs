//! The credentials of requests and their renewal, which is shared by all requests and independent
//! of the one that triggered it.

use std::fmt;
use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use failover_core::{Error, Time};
use failover_provider_kit::{AbortOnDrop, Deadline, Secret, Timing};
use http::Request;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::Client;
use kube::client::Body;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::credentials::{Credentials, Server, Session, Sources};
use crate::signal::SharedSignal;

/// The minimum interval between renewals after refused credentials.
const RENEWAL: Duration = Duration::from_secs(30);
/// Credentials are renewed this long before they expire; the old ones stay in use meanwhile.
const EARLY: SignedDuration = SignedDuration::from_secs(60);

/// The interval at which files with refused credentials are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// The minimum interval between requests to a server whose connections break, and its random part.
const INTERVAL: Duration = Duration::from_millis(1500);
const RANDOM: Duration = Duration::from_secs(2);
/// How long a connection and such a request may take.
const CONNECT: Duration = Duration::from_millis(500);
const ANSWER: Duration = Duration::from_secs(1);
const SPREAD: Duration = Duration::from_millis(300);

/// The current session and its renewal. `Debug` shows no secret.
pub(crate) struct Auth {
    shared: Arc<Shared>,
    /// A task of its own: as part of a request, each dropped request would abort it.
    renewal: Mutex<Option<AbortOnDrop>>,
    changes: SharedSignal,
}

struct Shared {
    credentials: Credentials,
    dangerous: bool,
    sources: Sources,
    /// The time limit of a renewal: less than a request's, so that a request can wait for the
    /// result.
    limit: Duration,
    timing: Timing,
    now: Mutex<Now>,
    /// The number of finished renewals.
    ended: watch::Sender<u64>,
}

struct Now {
    way: Session,
    /// The number of sessions so far.
    generation: u64,
    renews: bool,
    /// When the last renewal started, and its error.
    tried: Option<Time>,
    error: Option<Error>,
    /// The token that the server refused last.
    refused: Option<Secret>,
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.credentials.fmt(f)
    }
}

impl Auth {
    /// Reads the configuration, and runs the credentials plugin if it names one.
    pub(crate) async fn open(
        credentials: Credentials,
        dangerous: bool,
        deadline: Duration,
        timing: Timing,
    ) -> Result<(Self, Server), Error> {
        let sources = Sources::new();
        let (way, server) = if let Credentials::Client(client) = &credentials {
            let namespace = client.default_namespace().to_owned();
            let origin = "KubernetesProvider::from_client".to_owned();
            (Session::of_client(Client::clone(client)), Server { namespace, url: None, origin })
        } else {
            sources.open(&credentials, dangerous, &Deadline::after(&timing, deadline)).await?
        };
        let now = Now { way, generation: 0, renews: false, tried: None, error: None, refused: None };
        let changes = SharedSignal::new(&timing);
        let shared = Shared {
            credentials,
            dangerous,
            sources,
            limit: deadline / 4 * 3,
            timing,
            now: Mutex::new(now),
            ended: watch::Sender::new(0),
        };
        Ok((Self { shared: Arc::new(shared), renewal: Mutex::default(), changes }, server))
    }

    /// Records that the server refused the current credentials, with this token.
    pub(crate) fn refused(&self, token: Option<Secret>) {
        self.shared.lock().refused = token;
    }

    /// Waits until the files with the refused credentials have another content. The next request
    /// then uses it.
    pub(crate) async fn until_changed(&self) {
        let shared = Arc::clone(&self.shared);
        let search = async move {
            while !shared.have_changed().await {
                sleep(LOOK).await;
            }
        };
        self.changes.wait(Box::pin(search)).await;
    }

    /// Waits until the server at this address answers a request, whatever its answer.
    pub(crate) fn until_answered(
        &self,
        address: Option<Arc<str>>,
    ) -> impl Future<Output = ()> + Send + use<> {
        let shared = Arc::clone(&self.shared);
        async move {
            loop {
                sleep(INTERVAL + RANDOM.mul_f64(shared.timing.unit())).await;
                // A request only to what accepts connections.
                if let Some(address) = &address
                    && !matches!(timeout(CONNECT, TcpStream::connect(&**address)).await, Ok(Ok(_)))
                {
                    continue;
                }
                let ask = Request::get("/version").body(Body::empty());
                let (Ok(ask), (session, _)) = (ask, shared.current()) else { continue };
                match timeout(ANSWER, session.client.send(ask)).await {
                    Ok(Ok(_)) => break,
                    Ok(Err(_)) => {}
                    // It takes requests and does not answer them: more of them would only add to
                    // its load.
                    Err(_) => pending().await,
                }
            }
            // Those that wait for it do not return together.
            sleep(SPREAD.mul_f64(shared.timing.unit())).await;
        }
    }

    /// Returns the current session and its generation.
    pub(crate) async fn way(&self) -> (Session, u64) {
        let (way, generation) = self.shared.current();
        let Some(left) = way.ends.map(|ends| ends.duration_since(Timestamp::now())) else {
            return (way, generation);
        };
        if left <= SignedDuration::ZERO {
            // If there are no newer credentials, the server decides: clocks differ.
            let _ = self.renew(generation).await;
            return self.shared.current();
        }
        if left <= EARLY {
            self.begin(generation);
        }
        (way, generation)
    }

    /// Refreshes credentials of this generation. Returns false if no newer ones are available.
    pub(crate) async fn renew(&self, generation: u64) -> Result<bool, Error> {
        let mut ended = self.shared.ended.subscribe();
        let mut begun = self.begin(generation);
        if matches!(begun, Renewal::Rests(_)) && self.shared.have_changed().await {
            begun = self.begin(generation);
        }
        match begun {
            Renewal::Done => return Ok(true),
            Renewal::Rests(error) => return error.map_or(Ok(false), Err),
            Renewal::Runs => {}
        }
        let _ = ended.changed().await;
        let now = self.shared.lock();
        if now.generation > generation {
            return Ok(true);
        }
        now.error.clone().map_or(Ok(false), Err)
    }

    /// Aborts a renewal in progress and its plugin. It does not count as an attempt.
    pub(crate) fn stop(&self) {
        drop(self.renewal.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.shared.lock().tried = None;
    }

    fn begin(&self, generation: u64) -> Renewal {
        let mut renewal = self.renewal.lock().unwrap_or_else(PoisonError::into_inner);
        let mut now = self.shared.lock();
        if now.generation > generation {
            // Another request has already triggered the renewal.
            return Renewal::Done;
        }
        if now.renews {
            return Renewal::Runs;
        }
        let lately = now.tried.is_some_and(|tried| self.shared.timing.now().since(tried) < RENEWAL);
        if lately || matches!(self.shared.credentials, Credentials::Client(_)) {
            return Renewal::Rests(now.error.clone());
        }
        (now.renews, now.tried) = (true, Some(self.shared.timing.now()));
        let under_way = UnderWay(Arc::clone(&self.shared));
        *renewal = Some(AbortOnDrop::spawn(async move { under_way.0.renew().await }));
        Renewal::Runs
    }
}

/// The outcome of asking for a renewal.
enum Renewal {
    Done,
    Runs,
    /// There was a recent attempt, with this result.
    Rests(Option<Error>),
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn current(&self) -> (Session, u64) {
        let now = self.lock();
        (now.way.clone(), now.generation)
    }

    /// Returns whether the files with the credentials have another content than what was refused. If
    /// so, they are read again by the next renewal, however recent the last one is.
    async fn have_changed(&self) -> bool {
        let (session, refused) = {
            let now = self.lock();
            (now.way.clone(), now.refused.clone())
        };
        if let (Some(file), Some(refused)) = (&session.token, refused)
            && file.current().await != refused
        {
            return true;
        }
        let changed = self.sources.have_changed(&session.files, &Deadline::after(&self.timing, LOOK)).await;
        if changed {
            self.lock().tried = None;
        }
        changed
    }

    async fn renew(&self) {
        let opened = self
            .sources
            .open(&self.credentials, self.dangerous, &Deadline::after(&self.timing, self.limit))
            .await;
        let mut now = self.lock();
        match opened {
            Ok((way, _)) => {
                now.way = way;
                now.generation += 1;
                now.error = None;
            }
            Err(error) => {
                if now.error.is_none() {
                    tracing::warn!(target: "failover::k8s", "cannot renew the credentials: {error}");
                }
                now.error = Some(error);
            }
        }
    }
}

/// A renewal in progress. However it ends, its waiters are notified.
struct UnderWay(Arc<Shared>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.lock().renews = false;
        self.0.ended.send_modify(|ended| *ended += 1);
    }
}
