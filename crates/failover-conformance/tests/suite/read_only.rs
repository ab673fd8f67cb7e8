//! A read-only provider with the hooks of a subject, and three liars that passed without them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use failover_conformance::{Level, Outcome, Standing, Subject, run};
use failover_core::provider::{EndpointSet, Provider, ProviderInfo, Query, WatchStream};
use failover_core::{Endpoint, Error, ErrorKind, ServiceName, async_trait};
use failover_provider_kit::{Polled, Source};

/// A backend that keeps neither ids nor tags, as a name server: addresses of services.
#[derive(Clone, Default)]
struct Zone(Arc<Mutex<Records>>);

#[derive(Default)]
struct Records {
    addresses: BTreeMap<String, Vec<String>>,
    down: bool,
}

#[async_trait]
impl Source for Zone {
    fn info(&self) -> ProviderInfo {
        ProviderInfo::new("zone", "1")
    }

    async fn fetch(&self, service: &ServiceName) -> Result<EndpointSet, Error> {
        let records = self.0.lock().expect("not poisoned");
        if records.down {
            return Err(Error::new(ErrorKind::Connection, "the name server does not answer"));
        }
        let Some(addresses) = records.addresses.get(service.as_str()) else {
            return Ok(EndpointSet::unknown_service());
        };
        let mut set = EndpointSet::new([]);
        for address in addresses {
            match Endpoint::builder(address, service.as_str(), address, 8080).build() {
                Ok(endpoint) => set.push(endpoint.into()),
                Err(error) => set.reject(address, error),
            }
        }
        Ok(set)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    None,
    IgnoresTags,
    OutageIsEmpty,
    NeverYields,
}

struct Liar(Polled<Zone>, Lie);

#[async_trait]
impl Provider for Liar {
    fn info(&self) -> ProviderInfo {
        self.0.info()
    }

    async fn connect(&self) -> Result<(), Error> {
        self.0.connect().await
    }

    async fn ping(&self) -> Result<(), Error> {
        self.0.ping().await
    }

    async fn close(&self) -> Result<(), Error> {
        self.0.close().await
    }

    async fn list(&self, query: &Query) -> Result<EndpointSet, Error> {
        match self.1 {
            Lie::IgnoresTags => self.0.list(&query.unfiltered()).await,
            Lie::OutageIsEmpty => match self.0.list(query).await {
                Err(error) if error.kind() == ErrorKind::Connection => Ok(EndpointSet::new([]).confirmed()),
                listed => listed,
            },
            Lie::None | Lie::NeverYields => self.0.list(query).await,
        }
    }

    fn watch(&self, query: &Query) -> Option<WatchStream<'_>> {
        if self.1 == Lie::NeverYields { Some(Box::pin(Silence)) } else { self.0.watch(query) }
    }
}

struct Silence;

impl futures_core::Stream for Silence {
    type Item = Result<EndpointSet, Error>;

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        std::task::Poll::Pending
    }
}

struct ReadOnly {
    zone: Zone,
    lie: Lie,
    hooks: bool,
}

#[async_trait]
impl Subject for ReadOnly {
    async fn provider(&self) -> Result<Arc<dyn Provider>, Error> {
        let polled = Polled::new(self.zone.clone()).interval(Duration::from_millis(250));
        Ok(Arc::new(Liar(polled, self.lie)))
    }

    async fn unconnected(&self) -> Result<Option<Arc<dyn Provider>>, Error> {
        self.provider().await.map(Some)
    }

    fn service(&self, clause: u32) -> String {
        format!("clause-{clause}.example.test")
    }

    async fn write(&self, _: &dyn Provider, endpoint: &Endpoint) -> Result<bool, Error> {
        let mut records = self.zone.0.lock().expect("not poisoned");
        let addresses = records.addresses.entry(endpoint.service().to_string()).or_default();
        addresses.push(endpoint.address().to_owned());
        Ok(self.hooks)
    }

    async fn remove(&self, _: &dyn Provider, endpoint: &Endpoint) -> Result<bool, Error> {
        let mut records = self.zone.0.lock().expect("not poisoned");
        let addresses = records.addresses.entry(endpoint.service().to_string()).or_default();
        addresses.retain(|address| address != endpoint.address());
        Ok(self.hooks)
    }

    async fn hostile(&self, service: &str, begins: bool) -> bool {
        let mut records = self.zone.0.lock().expect("not poisoned");
        let addresses = records.addresses.entry(service.to_owned()).or_default();
        for broken in ["", "no address", "\u{1b}[31m"] {
            if begins {
                addresses.push(broken.to_owned());
            } else {
                addresses.retain(|address| address != broken);
            }
        }
        true
    }

    fn has_secrets(&self) -> bool {
        false
    }

    fn crowd(&self) -> usize {
        1_000
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(3)
    }

    async fn outage(&self, begins: bool) -> bool {
        self.zone.0.lock().expect("not poisoned").down = begins;
        true
    }
}

fn subject(lie: Lie, hooks: bool) -> ReadOnly {
    ReadOnly { zone: Zone::default(), lie, hooks }
}

/// What applies to a provider that cannot be written to and stores no configuration.
const READS: [u32; 18] = [1, 2, 3, 11, 20, 21, 22, 23, 30, 31, 32, 34, 35, 50, 52, 60, 61, 62];

#[tokio::test(start_paused = true)]
async fn a_read_only_provider_is_tested_through_the_hooks_of_its_subject() {
    let report = run(&subject(Lie::None, true)).await;
    println!("{report}");
    report.assert_covers(READS);
    let passed = report.cases().iter().filter(|case| case.outcome == Outcome::Passed).count();
    assert_eq!(passed, READS.len(), "{report}");
    assert_eq!(report.levels(), [Level::Read, Level::Watch, Level::Survive]);
    report.assert_level(Level::Survive);
    for level in
        report.level_reports().iter().filter(|one| [Level::Write, Level::Configure].contains(&one.level))
    {
        assert!(matches!(level.standing, Standing::NotOffered { .. }), "{level}");
    }
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "the clauses [11, 20, 21, 23, 30, 31, 32, 34, 35, 60, 61, 62] were not tested")]
async fn without_them_what_was_not_tested_is_named() {
    run(&subject(Lie::None, false)).await.assert_covers(READS);
}

#[tokio::test(start_paused = true)]
async fn a_liar_fails_the_clauses_of_its_lie() {
    for (lie, clauses) in [
        (Lie::IgnoresTags, &[11][..]),
        (Lie::OutageIsEmpty, &[30]),
        (Lie::NeverYields, &[20, 21, 23, 30, 31, 32, 35, 50, 60, 61]),
    ] {
        let report = run(&subject(lie, true)).await;
        let failed: Vec<_> = report.failures().map(|case| case.number).collect();
        assert_eq!(failed, clauses, "{lie:?}\n{report}");
    }
}
