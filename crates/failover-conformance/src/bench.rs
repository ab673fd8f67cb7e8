//! The state of a running case, and what the cases share.

use std::fmt::Debug;
use std::future::{Future, poll_fn};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use failover_core::provider::{
    AddressTrust, EndpointEntry, EndpointSet, Provider, Query, Registry, WatchStream,
};
use failover_core::{Endpoint, EndpointBuilder, Error, ServiceName};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::outcome::Lack;
use crate::random::Random;
use crate::subject::Subject;

/// Why a case did not pass.
#[derive(Clone, Debug)]
pub(crate) enum Trouble {
    /// Something is missing that the case needs.
    Skipped(Lack, String),
    /// The provider violates the contract.
    Failed {
        /// What the contract requires.
        expected: String,
        /// What happened.
        seen: String,
    },
}

pub(crate) type Done<T = ()> = Result<T, Trouble>;

/// Skips a case that does not apply to the provider.
pub(crate) fn not_offered<T>(why: &str) -> Done<T> {
    Err(Trouble::Skipped(Lack::Offer, why.to_owned()))
}

/// Skips a case that the subject's hook would make possible.
pub(crate) fn no_hook<T>(hook: &str, advice: &str) -> Done<T> {
    Err(Trouble::Skipped(Lack::Hook, format!("the subject has no hook `{hook}`: {advice}")))
}

/// Skips a case that cannot tell, because of what another clause covers.
pub(crate) fn inconclusive<T>(why: &str) -> Done<T> {
    Err(Trouble::Skipped(Lack::Evidence, format!("{why}: another clause covers that; mend it first")))
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
    pub(crate) random: Random,
    service: String,
    written: Mutex<Vec<Endpoint>>,
}

impl<'a> Bench<'a> {
    pub(crate) fn new(subject: &'a dyn Subject, number: u32, random: Random) -> Self {
        Self { subject, random, service: subject.service(number), written: Mutex::default() }
    }

    pub(crate) async fn provider(&self) -> Done<Arc<dyn Provider>> {
        works("`Subject::provider`, which is to be mended first,", self.subject.provider().await)
    }

    /// Returns whether the provider says that its endpoints come from this process.
    pub(crate) async fn is_in_process(&self) -> Done<bool> {
        Ok(self.provider().await?.info().trust() == AddressTrust::InProcess)
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
        self.note(std::slice::from_ref(endpoint));
        works("register", registry.register(endpoint).await)
    }

    /// Writes an endpoint to the backend and notes it for removal.
    pub(crate) async fn write(&self, provider: &Arc<dyn Provider>, endpoint: &Endpoint) -> Done {
        self.note(std::slice::from_ref(endpoint));
        can(works("writing to the backend", self.subject.write(&**provider, endpoint).await)?)
    }

    /// Writes many endpoints and notes them for removal.
    pub(crate) async fn write_all(&self, provider: &Arc<dyn Provider>, endpoints: &[Endpoint]) -> Done {
        self.note(endpoints);
        can(works("writing to the backend", self.subject.write_all(&**provider, endpoints).await)?)
    }

    pub(crate) async fn remove(&self, provider: &Arc<dyn Provider>, endpoint: &Endpoint) -> Done {
        can(works("removing from the backend", self.subject.remove(&**provider, endpoint).await)?)
    }

    fn note(&self, endpoints: &[Endpoint]) {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(endpoints);
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
                    let patience = self.subject.patience();
                    let seen = format!(
                        "not within the `patience` of {patience:?}, which has to be above the interval of a provider \
                         that polls; last {last}"
                    );
                    return fail(expected, seen);
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
            Err(_) => fail(
                "every operation ends",
                format!("the case is not done after {limit:?}, 12 times the `patience` of the subject"),
            ),
        }
    }

    /// Removes what the case has written, even if the case did not finish.
    pub(crate) async fn clean_up(&self) {
        self.subject.outage(false).await;
        self.subject.hostile(&self.service, false).await;
        let left = std::mem::take(&mut *self.written.lock().unwrap_or_else(PoisonError::into_inner));
        if left.is_empty() {
            return;
        }
        let cleaning = async {
            let Ok(provider) = self.subject.provider().await else { return };
            let _ = self.subject.remove_all(&*provider, &left).await;
        };
        let _ = timeout(self.subject.patience() * 12, cleaning).await;
    }
}

fn can(can: bool) -> Done {
    if can {
        Ok(())
    } else {
        no_hook("write", "the provider is read-only, so let `write` and `remove` change its backend")
    }
}

pub(crate) fn registry(provider: &Arc<dyn Provider>) -> Done<&dyn Registry> {
    provider.registry().map_or_else(|| not_offered("the provider cannot be written to"), Ok)
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

/// The most endpoints that a report shows of a set.
const SHOWN: usize = 30;

pub(crate) fn shown(set: &EndpointSet) -> String {
    let all = set.entries();
    let endpoints: Vec<_> = all.iter().take(SHOWN).map(|entry| entry.endpoint().to_string()).collect();
    let more = match all.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("[{}]{more} and {} rejected entries", endpoints.join(", "), set.rejected_count())
}
