//! The subject of the tests, and helpers of the cases.

use std::fmt::Debug;
use std::future::{Future, poll_fn};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use failover_core::provider::{EndpointEntry, EndpointSet, Provider, Query, Registry, WatchStream};
use failover_core::{Endpoint, EndpointBuilder, Error, ServiceName, async_trait};
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// A kind of provider and its backend.
#[async_trait]
pub trait Subject: Send + Sync {
    /// Returns another connected provider on the same backend.
    ///
    /// # Errors
    ///
    /// Returns an error if a provider cannot be created; every case then fails.
    async fn provider(&self) -> Result<Arc<dyn Provider>, Error>;

    /// Returns another provider on the same backend, on which `connect` was not called. Default: `None`,
    /// which skips the case about it.
    ///
    /// # Errors
    ///
    /// Returns an error if it cannot be created; the case then fails.
    async fn unconnected(&self) -> Result<Option<Arc<dyn Provider>>, Error> {
        Ok(None)
    }

    /// Returns the name of the service that the case of a clause uses; default
    /// `conformance-CLAUSE-PROCESS`. No two clauses may share one.
    fn service(&self, clause: u32) -> String {
        // Keeps concurrent runs on one backend apart.
        format!("conformance-{clause}-{}", std::process::id())
    }

    /// Writes an endpoint to the backend, as its operator does. Returns whether the subject can;
    /// the cases that need an endpoint are skipped if not.
    ///
    /// The default registers it through the provider, if that has a registry. A subject of a read-only
    /// provider overrides it: it changes the zone of a name server, or writes the file. The cases tell
    /// endpoints apart by their addresses, so that a backend need not keep their ids.
    ///
    /// # Errors
    ///
    /// Returns an error if the backend refuses; the case then fails.
    async fn write(&self, provider: &dyn Provider, endpoint: &Endpoint) -> Result<bool, Error> {
        let Some(registry) = provider.registry() else { return Ok(false) };
        registry.register(endpoint).await.map(|()| true)
    }

    /// Removes an endpoint from the backend: see [`write`](Self::write).
    ///
    /// # Errors
    ///
    /// Returns an error if the backend refuses; the case then fails.
    async fn remove(&self, provider: &dyn Provider, endpoint: &Endpoint) -> Result<bool, Error> {
        let Some(registry) = provider.registry() else { return Ok(false) };
        registry.deregister(endpoint.service(), endpoint.id()).await.map(|_| true)
    }

    /// Returns how long a change may take to reach another provider on the backend; default 5 s.
    fn patience(&self) -> Duration {
        Duration::from_secs(5)
    }

    /// Returns how long the suite waits to verify that nothing happens; default 300 ms. Increase it
    /// for a slow backend.
    fn calm(&self) -> Duration {
        Duration::from_millis(300)
    }

    /// Starts or ends an outage of the backend. Returns whether the subject supports that; default
    /// false, which skips the cases about outages.
    async fn outage(&self, begins: bool) -> bool {
        let _ = begins;
        false
    }

    /// Returns texts that must not appear in any output, such as the providers' token.
    fn secrets(&self) -> Vec<String> {
        Vec::new()
    }

    /// Returns the `Debug` output of a provider, its configuration and its builder, for subjects
    /// with secrets.
    fn shown(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Why a case did not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trouble {
    /// The provider does not offer the function.
    Skipped(String),
    /// The provider violates the contract.
    Failed {
        /// What the contract requires.
        expected: String,
        /// What happened.
        seen: String,
    },
}

pub(crate) type Done<T = ()> = Result<T, Trouble>;

pub(crate) fn skip<T>(why: &str) -> Done<T> {
    Err(Trouble::Skipped(why.to_owned()))
}

pub(crate) fn fail<T>(expected: impl Into<String>, seen: impl Into<String>) -> Done<T> {
    Err(Trouble::Failed { expected: expected.into(), seen: seen.into() })
}

/// Fails unless the condition holds.
pub(crate) fn ensure(holds: bool, expected: &str, seen: impl Debug) -> Done {
    if holds { Ok(()) } else { fail(expected, format!("{seen:?}")) }
}

/// Fails the case unless the operation succeeded.
pub(crate) fn works<T>(what: &str, result: Result<T, Error>) -> Done<T> {
    result.or_else(|error| fail(format!("{what} works"), format!("error of kind {}: {error}", error.kind())))
}

/// The state of a running case.
pub(crate) struct Bench<'a> {
    pub(crate) subject: &'a dyn Subject,
    service: String,
    written: Mutex<Vec<Endpoint>>,
}

impl<'a> Bench<'a> {
    pub(crate) fn new(subject: &'a dyn Subject, number: u32) -> Self {
        Self { subject, service: subject.service(number), written: Mutex::default() }
    }

    pub(crate) async fn provider(&self) -> Done<Arc<dyn Provider>> {
        works("making a provider", self.subject.provider().await)
    }

    pub(crate) fn service(&self) -> ServiceName {
        ServiceName::new(&self.service).expect("the subject names a service")
    }

    pub(crate) fn query(&self) -> Query {
        Query::service(&self.service())
    }

    /// Returns an endpoint of the case's service, at `10.1.2.last`.
    pub(crate) fn endpoint(&self, id: &str, last: u8) -> EndpointBuilder {
        Endpoint::builder(id, self.service.clone(), format!("10.1.2.{last}"), 8080).protocol("http")
    }

    pub(crate) fn plain(&self, id: &str, last: u8) -> Endpoint {
        self.endpoint(id, last).build().expect("valid")
    }

    /// Registers an endpoint and notes it for removal.
    pub(crate) async fn register(&self, provider: &Arc<dyn Provider>, endpoint: &Endpoint) -> Done {
        let registry = registry(provider)?;
        self.note(endpoint);
        works("register", registry.register(endpoint).await)
    }

    /// Writes an endpoint to the backend and notes it for removal.
    pub(crate) async fn write(&self, provider: &Arc<dyn Provider>, endpoint: &Endpoint) -> Done {
        self.note(endpoint);
        can(works("writing to the backend", self.subject.write(&**provider, endpoint).await)?)
    }

    pub(crate) async fn remove(&self, provider: &Arc<dyn Provider>, endpoint: &Endpoint) -> Done {
        can(works("removing from the backend", self.subject.remove(&**provider, endpoint).await)?)
    }

    fn note(&self, endpoint: &Endpoint) {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).push(endpoint.clone());
    }

    /// Lists until the answer satisfies the predicate.
    pub(crate) async fn lists(
        &self,
        provider: &Arc<dyn Provider>,
        expected: &str,
        right: impl Fn(&EndpointSet) -> bool,
    ) -> Done<EndpointSet> {
        let until = Instant::now() + self.subject.patience();
        loop {
            let seen = provider.list(&self.query()).await;
            match seen {
                Ok(set) if right(&set) => return Ok(set),
                Ok(set) if Instant::now() >= until => return fail(expected, shown(&set)),
                Err(error) if Instant::now() >= until => return fail(expected, format!("{error}")),
                _ => sleep(self.subject.calm() / 20).await,
            }
        }
    }

    /// Reads a watch until a set satisfies the predicate; errors before that are allowed, the end
    /// of the stream is not.
    pub(crate) async fn watches(
        &self,
        stream: &mut WatchStream<'_>,
        expected: &str,
        right: impl Fn(&EndpointSet) -> bool,
    ) -> Done {
        let until = Instant::now() + self.subject.patience();
        let mut last = "nothing".to_owned();
        loop {
            match before(until, next(stream)).await {
                None => {
                    return fail(expected, format!("not within {:?}; last {last}", self.subject.patience()));
                }
                Some(None) => return fail(expected, format!("the stream ended after {last}")),
                Some(Some(Ok(set))) if right(&set) => return Ok(()),
                Some(Some(Ok(set))) => last = shown(&set),
                Some(Some(Err(error))) => last = format!("error: {error}"),
            }
        }
    }

    pub(crate) async fn within(&self, limit: Duration, case: impl Future<Output = Done>) -> Done {
        match timeout(limit, case).await {
            Ok(done) => done,
            Err(_) => fail("every operation ends", format!("the case is not done after {limit:?}")),
        }
    }

    /// Removes what the case has written, even if the case did not finish.
    pub(crate) async fn clean_up(&self) {
        self.subject.outage(false).await;
        let left = std::mem::take(&mut *self.written.lock().unwrap_or_else(PoisonError::into_inner));
        if left.is_empty() {
            return;
        }
        let cleaning = async {
            let Ok(provider) = self.subject.provider().await else { return };
            for endpoint in left {
                let _ = self.subject.remove(&*provider, &endpoint).await;
            }
        };
        let _ = timeout(self.subject.patience(), cleaning).await;
    }
}

fn can(can: bool) -> Done {
    if can {
        Ok(())
    } else {
        skip("the provider is read-only, and the subject has no hooks `write` and `remove`")
    }
}

pub(crate) fn registry(provider: &Arc<dyn Provider>) -> Done<&dyn Registry> {
    provider.registry().map_or_else(|| skip("the provider cannot be written to"), Ok)
}

/// Returns the output of a future that is ready before this time, even if the future is always
/// ready.
pub(crate) async fn before<T>(until: Instant, what: impl Future<Output = T>) -> Option<T> {
    if Instant::now() >= until { None } else { timeout_at(until, what).await.ok() }
}

pub(crate) async fn next(stream: &mut WatchStream<'_>) -> Option<Result<EndpointSet, Error>> {
    poll_fn(|context| stream.as_mut().poll_next(context)).await
}

pub(crate) fn ids(set: &EndpointSet) -> Vec<&str> {
    let mut ids: Vec<_> = set.entries().iter().map(|entry| entry.endpoint().id().as_str()).collect();
    ids.sort_unstable();
    ids
}

/// Returns the last numbers of the addresses, in order: cases that a backend without ids has to pass tell
/// endpoints apart by them.
pub(crate) fn lasts(set: &EndpointSet) -> Vec<u8> {
    let last = |entry: &EndpointEntry| entry.endpoint().address().rsplit('.').next()?.parse().ok();
    let mut lasts: Vec<_> = set.entries().iter().map(|entry| last(entry).unwrap_or(0)).collect();
    lasts.sort_unstable();
    lasts
}

pub(crate) fn find<'s>(set: &'s EndpointSet, id: &str) -> Option<&'s EndpointEntry> {
    set.entries().iter().find(|entry| entry.endpoint().id().as_str() == id)
}

pub(crate) fn shown(set: &EndpointSet) -> String {
    let endpoints: Vec<_> = set.entries().iter().map(|entry| entry.endpoint().to_string()).collect();
    format!("[{}] and {} rejected entries", endpoints.join(", "), set.rejected().len())
}
