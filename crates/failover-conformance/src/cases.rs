//! The clauses of the provider contract, each as a case.

mod config;
mod outage;
mod read;
mod registry;
mod successor;
mod survive;
mod watch;

use std::future::Future;
use std::pin::Pin;

use failover_core::provider::{Feature, Query};
use failover_core::{ErrorKind, codes};
use tokio::time::{Instant, timeout};

use crate::bench::{Bench, Done, ensure, fail, no_hook, not_offered, works};
use crate::level::Level;

/// A test case for one clause.
pub(crate) struct Case {
    pub(crate) number: u32,
    pub(crate) name: &'static str,
    pub(crate) level: Level,
    pub(crate) run: for<'a> fn(&'a Bench<'a>) -> Running<'a>,
}

pub(crate) type Running<'a> = Pin<Box<dyn Future<Output = Done> + Send + 'a>>;

/// `CASES` as a table: number, level, clause, function.
macro_rules! cases {
    ($($number:literal $level:ident $name:literal $run:path;)+) => {
        pub(crate) const CASES: &[Case] = &[$(Case {
            number: $number,
            name: $name,
            level: Level::$level,
            run: |bench| Box::pin($run(bench)),
        }),+];
    };
}

cases! {
    1 Read "info answers at once, and names what the provider offers" info;
    2 Read "connect and ping work, and connecting twice is no error" connects;
    3 Read "an unregistered service is an answer without endpoints, not an error" unknown_service;
    4 Write "every field of the model comes back as it was registered" registry::round_trip;
    5 Write "registering again replaces" registry::upsert;
    6 Write "update replaces what is there" registry::update;
    7 Write "update of what is not there is NotFound and writes nothing" registry::update_of_nothing;
    8 Write "a deregistered endpoint is gone, and stays gone" registry::deregister;
    9 Write "deregistering what is not there is no error, and says so" registry::deregister_nothing;
    10 Write "get answers one endpoint, or NotFound" registry::get;
    11 Read "list answers what matches the query, and nothing else" read::query;
    12 Write "many registrations at once all stand" registry::many;
    13 Write "ids of any allowed characters are kept apart" registry::odd_ids;
    14 Write "a dropped registration is whole or not at all" registry::cancelled;
    15 Write "claims of health and lifecycle are seen, or Unsupported" registry::claims;
    20 Watch "a watch begins with what there is" watch::first;
    21 Watch "a watch sees every change in the end" watch::changes;
    22 Watch "a watch is calm while nothing changes" watch::calm;
    23 Watch "a watch that is dropped leaves the others alone" watch::dropped;
    30 Survive "an outage is an error, never an empty set" outage::error;
    31 Survive "a watch outlives an outage" outage::watch;
    32 Survive "a set is not lost to the error that follows it" outage::late_set;
    33 Survive "a configuration document is not lost to the error that follows it" config::late_document;
    34 Survive "an outage is an error of the table, and advises to try again" outage::codes;
    35 Survive "list and watch work without a successful connect" outage::unconnected;
    40 Configure "a configuration document comes back as it was stored" config::round_trip;
    41 Configure "compare-and-swap is kept" config::swap;
    42 Configure "a configuration watch sees what is there and every change" config::watch;
    43 Configure "a document that is too large is refused by the code of the table, or stored whole" config::large;
    50 Read "closing ends within a second, twice as well, and ends the watches" close;
    51 Read "no secret shows" secrets;
    52 Read "a missing endpoint, a lost swap and a closed provider have the codes of the table" codes_of_the_table;
    60 Survive "thousands of endpoints are listed whole and watched, in bounded time" survive::crowd;
    61 Survive "broken entries take nothing from the good ones beside them" survive::hostile;
    62 Survive "list reads the backend, and no answer is older than one before" survive::fresh;
    63 Survive "nothing of a successor is touched by the owner before" successor::untouched;
}

async fn info(bench: &Bench<'_>) -> Done {
    let provider = bench.provider().await?;
    let info = provider.info();
    ensure(!info.kind().is_empty() && !info.version().is_empty(), "a kind and a version", &info)?;
    let watches = provider.watch(&Query::service(&bench.service())).is_some();
    for (feature, offered) in [
        (Feature::Registry, provider.registry().is_some()),
        (Feature::ConfigStore, provider.config_store().is_some()),
        (Feature::Watch, watches),
    ] {
        let named = info.features().contains(&feature);
        ensure(
            named == offered,
            &format!("{feature:?} named if and only if it is offered"),
            (named, offered),
        )?;
    }
    Ok(())
}

async fn connects(bench: &Bench<'_>) -> Done {
    let provider = bench.provider().await?;
    works("connect", provider.connect().await)?;
    works("connecting again", provider.connect().await)?;
    works("ping", provider.ping().await)
}

async fn unknown_service(bench: &Bench<'_>) -> Done {
    let provider = bench.provider().await?;
    let set = works("listing an unregistered service", provider.list(&bench.query()).await)?;
    ensure(set.entries().is_empty(), "no endpoints", crate::bench::shown(&set))
}

async fn close(bench: &Bench<'_>) -> Done {
    let provider = bench.provider().await?;
    let service = bench.service();
    let mut stream = provider.watch(&Query::service(&service));
    for time in ["closing", "closing again"] {
        let begun = Instant::now();
        let second = std::time::Duration::from_secs(1);
        match timeout(second, provider.close()).await {
            Ok(closed) => works(time, closed)?,
            Err(_) => {
                return fail(
                    format!("{time} ends within a second"),
                    format!("not after {:?}", begun.elapsed()),
                );
            }
        }
    }
    let closed = provider.list(&bench.query()).await;
    ensure(closed.is_err(), "listing after closing is an error", closed.as_ref().map(crate::bench::shown))?;
    let Some(stream) = &mut stream else { return Ok(()) };
    let ended = async { while crate::bench::next(stream).await.is_some_and(|item| item.is_ok()) {} };
    let ended = timeout(bench.subject.patience(), ended).await;
    ensure(ended.is_ok(), "a watch ends, or says why not, when its provider is closed", "it goes on waiting")
}

async fn secrets(bench: &Bench<'_>) -> Done {
    let secrets = bench.subject.secrets();
    if !bench.subject.has_secrets() {
        return not_offered("the provider is given no secret");
    }
    if secrets.is_empty() {
        return no_hook("secrets", "name the provider's token, or say in `has_secrets` that it has none");
    }
    let provider = bench.provider().await?;
    let mut places = bench.subject.shown();
    places.push(serde_json::to_string(&provider.info()).unwrap_or_default());
    places.push(format!("{:?}", provider.info()));
    if let Some(registry) = provider.registry() {
        let missing = registry.get(&bench.service(), bench.plain("missing", 1).id()).await;
        places.extend(missing.err().map(|error| format!("{error} {error:?}")));
    }
    let _ = timeout(bench.subject.patience(), provider.close()).await;
    let closed = provider.list(&bench.query()).await;
    places.extend(closed.err().map(|error| format!("{error} {error:?}")));
    for secret in secrets {
        if let Some(place) = places.iter().find(|place| place.contains(&secret)) {
            // The report must not show the secret, either.
            return fail("no output contains the secret", place.replace(&secret, "<the secret>"));
        }
    }
    Ok(())
}

/// Checks the codes of the table in `failover_core::codes`.
async fn codes_of_the_table(bench: &Bench<'_>) -> Done {
    let provider = bench.provider().await?;
    let key = failover_core::provider::ConfigKey::Service(bench.service());
    if let Some(registry) = provider.registry() {
        let missing = registry.get(&bench.service(), bench.plain("missing", 1).id()).await;
        has_code("getting what is not there", missing.err(), codes::NOT_FOUND)?;
    }
    if let Some(store) = provider.config_store() {
        let first = store.store(&key, "{\"v\":1}", None).await;
        if kind(&first) != Some(ErrorKind::Unsupported) {
            works("storing", first)?;
            // A different clause covers stores that ignore `expected`.
            let lost = store.store(&key, "{\"v\":2}", None).await;
            has_code("a lost swap", lost.err(), codes::CONFLICT)?;
        }
    }
    let _ = timeout(bench.subject.patience(), provider.close()).await;
    has_code("listing after closing", provider.list(&bench.query()).await.err(), codes::SERVICE_UNAVAILABLE)
}

/// Fails if the error, if any, has another code.
fn has_code(what: &str, error: Option<failover_core::Error>, code: &str) -> Done {
    let found = error.as_ref().map(failover_core::Error::code);
    ensure(found.is_none_or(|found| found == code), &format!("{what} has the code {code}"), error)
}

/// Returns the kind of the error, if any.
fn kind<T>(result: &Result<T, failover_core::Error>) -> Option<ErrorKind> {
    result.as_ref().err().map(failover_core::Error::kind)
}
