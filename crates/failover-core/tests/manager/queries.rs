//! Services that are another one at each source: by tag, by name, by namespace and by port.

use std::sync::Mutex;
use std::time::Duration;

use failover_core::events::EventKind;
use failover_core::provider::{
    AddressTrust, EndpointSet, Feature, PortChoice, Provider, ProviderInfo, Query, WatchStream,
};
use failover_core::{
    Endpoint, Error, ErrorKind, FailoverConfig, FailoverManager, ManagerConfig, ServiceHandle, ServiceName,
    async_trait, source,
};
use failover_memory::MemoryProvider;
use tokio::time::sleep;

use crate::{emitted, endpoint_of, picked, until, users, virtual_manager};

const SECOND: Duration = Duration::from_secs(1);

fn tagged(service: &str, id: &str, last: u8, tags: &[&str]) -> Endpoint {
    let builder = Endpoint::builder(id, service, format!("10.0.0.{last}"), 8080);
    builder.tags(tags.iter().copied()).build().expect("valid")
}

async fn put(provider: &MemoryProvider, endpoint: Endpoint) {
    Provider::registry(provider).expect("it has one").register(&endpoint).await.expect("registers");
}

async fn remove(provider: &MemoryProvider, endpoint: &Endpoint) {
    let registry = Provider::registry(provider).expect("it has one");
    registry.deregister(endpoint.service(), endpoint.id()).await.expect("deregisters");
}

fn ids(service: &ServiceHandle) -> Vec<String> {
    picked(service).into_iter().collect()
}

#[tokio::test(start_paused = true)]
async fn a_service_by_its_tags_has_those_endpoints_alone_and_follows_their_tags() {
    let provider = MemoryProvider::new();
    put(&provider, tagged("users", "a", 1, &["canary", "v2"])).await;
    put(&provider, tagged("users", "b", 2, &["v1"])).await;
    put(&provider, tagged("users", "c", 3, &[])).await;
    let manager = virtual_manager(provider.clone()).build().await.expect("builds");
    let query = |tag: &str| Query::service(&users()).tag(tag);
    let canary = manager.service_matching(query("canary")).await.expect("a handle");
    let old = manager.service_matching(query("v1")).await.expect("a handle");
    let all = manager.service("users").await.expect("a handle");
    assert_eq!((ids(&canary), ids(&old)), (vec!["a".to_owned()], vec!["b".to_owned()]));
    assert_eq!(ids(&all), ["a", "b", "c"]);

    // An equal query is the same service; others have their own counters.
    let same = manager.service_matching(query("canary")).await.expect("a handle");
    for _ in 0..5 {
        canary.execute(async |_| Ok::<_, Error>(())).await.expect("succeeds");
    }
    assert_eq!((same.stats().total_requests, old.stats().total_requests), (5, 0));
    let shown = manager.stats();
    let of = |query: Option<&str>| shown.iter().find(|stats| stats.query.as_deref() == query).expect("shown");
    assert_eq!(of(Some("tag \"canary\"")).total_requests, 5);
    assert_eq!((shown.len(), of(None).total_requests), (3, 0));
    assert!(canary.explain().to_string().starts_with("users (tag \"canary\"): "), "{}", canary.explain());
    let events = canary.events(10);
    assert!(events.iter().all(|event| event.details["query"] == "tag \"canary\""), "{events:?}");
    assert!(!events.is_empty() && all.events(10).iter().all(|event| !event.details.contains_key("query")));

    // The registry moves the tag.
    put(&provider, tagged("users", "c", 3, &["canary"])).await;
    until("the other one joins", SECOND, || ids(&canary) == ["a", "c"]).await;
    put(&provider, tagged("users", "a", 1, &["v2"])).await;
    until("the first one leaves", SECOND, || ids(&canary) == ["c"]).await;
    // The last one loses it: the registry lists endpoints, so the empty answer is certain.
    put(&provider, tagged("users", "c", 3, &[])).await;
    until("none is left", SECOND, || canary.select().is_err()).await;
    assert_eq!(ids(&all), ["a", "b", "c"]);
    assert!(!canary.is_stale() && emitted(&canary, EventKind::EmptyHeld).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_service_falls_over_to_one_of_another_name_in_another_datacenter() {
    let (here, there) = (MemoryProvider::new(), MemoryProvider::new());
    let main = endpoint_of("minio", "main", 1);
    put(&here, main.clone()).await;
    put(&there, tagged("minio-replica", "replica", 2, &["replica"])).await;
    put(&there, tagged("minio-replica", "witness", 3, &[])).await;
    put(&there, endpoint_of("minio", "other", 4)).await;
    let manager = virtual_manager(here.clone()).provider_as("dc2", there.clone());
    let manager = manager.build().await.expect("builds");
    let sources = || [source("memory"), source("dc2").service("minio-replica").tag("replica")];
    let minio = manager.service_from("minio", sources()).await.expect("a handle");
    assert_eq!(ids(&minio), ["main"]);
    let asked: Vec<_> = minio.stats().sources.iter().map(|source| source.query.clone()).collect();
    assert_eq!((asked[0].as_deref(), asked[1].as_deref()), (None, Some("minio-replica, tag \"replica\"")));

    let call = async || {
        let done =
            minio.execute(async |at| if at.id().as_str() == "main" { Err("down") } else { Ok(()) }).await;
        done.map(|done| done.endpoint.service().to_string())
    };
    for _ in 0..20 {
        assert_eq!(call().await.expect("the replica answers"), "minio-replica");
    }
    // By push: another replica joins, and is used without a pause.
    put(&there, tagged("minio-replica", "replica-2", 5, &["replica"])).await;
    remove(&there, &tagged("minio-replica", "replica", 2, &[])).await;
    let listed = || minio.endpoints().iter().map(|of| of.endpoint().id().to_string()).collect::<Vec<_>>();
    until("the other replica", SECOND, || listed() == ["main", "replica-2"]).await;
    assert_eq!(call().await.expect("the other replica answers"), "minio-replica");
    let text = minio.explain().to_string();
    assert!(text.contains("from dc2 (tier 1, asked for minio-replica, tag \"replica\"): fresh"), "{text}");

    // The same sources are the same service, others are an error that names both.
    assert!(manager.service_from("minio", sources()).await.is_ok());
    let other = [source("memory"), source("dc2").service("minio-replica")];
    let error = manager.service_from("minio", other).await.expect_err("others");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let message = error.to_string();
    assert!(
        message.contains("dc2 (minio-replica, tag \"replica\"), not through memory, dc2 (minio-replica)")
    );
    assert!(message.contains("give one of them another name"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn several_sources_of_one_provider_have_names_and_operations_find_their_endpoints() {
    let provider = MemoryProvider::new();
    for service in ["users-blue", "users-green"] {
        let last = if service == "users-blue" { 1 } else { 2 };
        put(&provider, endpoint_of(service, "server", last)).await;
    }
    let manager = virtual_manager(provider).build().await.expect("builds");
    let sources = [source("memory").service("users-blue"), source("memory").service("users-green")];
    let users = manager.service_from("users", sources).await.expect("a handle");
    let names: Vec<_> = users.stats().sources.iter().map(|source| source.provider.to_string()).collect();
    assert_eq!(names, ["memory/users-blue", "memory/users-green"]);
    let first = users.select().expect("one is in").endpoint().service().to_string();
    assert_eq!(first, "users-blue", "without a tier, the position in the list");
    let green = users.endpoint("server@memory/users-green").expect("it is named");
    assert_eq!(green.address(), "10.0.0.2");
    users.execute(async |_| Ok::<_, Error>(())).await.expect("succeeds");
    // Both belong to one provider.
    let of_provider = &manager.provider_stats()["memory"];
    assert_eq!((of_provider.services, of_provider.endpoints, of_provider.total_requests), (2, 2, 1));
    let report = manager.health_check(("users-blue", "server")).await.expect("there");
    assert!(report.evidence.contains("0 of 2 attempts failed, and it is in"), "{report}");
    let found = manager.get_endpoint("server@memory/users-green").await.expect("there");
    assert_eq!(found.endpoint().address(), "10.0.0.2");
    assert!(manager.deregister_endpoint("server@memory/users-blue").await.expect("deregisters"));
    until("the other one", SECOND, || {
        users.select().is_ok_and(|pick| pick.endpoint().service().as_str() == "users-green")
    })
    .await;

    // Of one service, the position tells them apart.
    let tags = [source("memory").tag("v2"), source("memory").tag("v1"), source("memory").tier(9)];
    let orders = manager.service_from("orders", tags).await.expect("a handle");
    let sources = orders.stats().sources;
    let names: Vec<_> = sources.iter().map(|source| (&*source.provider, source.tier)).collect();
    assert_eq!(names, [("memory/1", 0), ("memory/2", 1), ("memory/3", 9)]);
    let twice = [source("memory").tag("a").tag("b"), source("memory").tag("b").tag("a")];
    let error = manager.service_from("twice", twice).await.expect_err("one source twice");
    assert_eq!(error.kind(), ErrorKind::Validation);
    assert!(error.to_string().contains("\"memory: tag \"a\", tag \"b\"\" twice"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn what_a_provider_cannot_be_asked_is_refused_with_what_to_leave_out() {
    let provider = MemoryProvider::new();
    put(&provider, endpoint_of("users", "a", 1)).await;
    let manager = virtual_manager(provider).build().await.expect("builds");
    let query = || Query::service(&users());
    for (query, expected) in [
        (query().namespace("shop"), "provider memory has no namespaces; leave out the namespace \"shop\""),
        (query().port("http"), "each endpoint of provider memory has one port; leave out the port http"),
        (query().port(8080), "each endpoint of provider memory has one port; leave out the port 8080"),
    ] {
        let of_service = manager.service_matching(query.clone()).await.expect_err("refused");
        let of_list = manager.list_endpoints(&query).await.expect_err("refused");
        for error in [of_service, of_list] {
            assert_eq!((error.kind(), error.to_string()), (ErrorKind::Unsupported, expected.to_owned()));
        }
    }
    let error = manager.service_from("users", [source("memory").port("http")]).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let error = manager.service_matching(Query::all().tag("a")).await.expect_err("no service");
    assert_eq!(error.kind(), ErrorKind::Validation);
    assert!(error.to_string().contains("Query::service"), "{error}");
    let error = manager.service_from("users", [source("consul").service("a")]).await.expect_err("unknown");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let error = manager.service_from("users", [source("memory").service("")]).await.expect_err("no name");
    assert_eq!(error.kind(), ErrorKind::Validation);
}

/// A provider with namespaces and ports, which remembers what it is asked, and polls or watches.
struct Cluster(&'static Mutex<Vec<Query>>);

impl Cluster {
    fn new() -> (Self, &'static Mutex<Vec<Query>>) {
        let asked = Box::leak(Box::default());
        (Self(asked), asked)
    }
}

#[async_trait]
impl Provider for Cluster {
    fn info(&self) -> ProviderInfo {
        ProviderInfo::new("cluster", "1")
            .with_features([Feature::Namespaces, Feature::Ports])
            .with_trust(AddressTrust::InProcess)
    }

    async fn connect(&self) -> Result<(), Error> {
        Ok(())
    }

    async fn ping(&self) -> Result<(), Error> {
        Ok(())
    }

    async fn close(&self) -> Result<(), Error> {
        Ok(())
    }

    async fn list(&self, query: &Query) -> Result<EndpointSet, Error> {
        self.0.lock().expect("whole").push(query.clone());
        let service = query.service_name().expect("one service").as_str();
        let port = match query.port_choice() {
            Some(PortChoice::Number(number)) => *number,
            Some(PortChoice::Name(name)) if name == "http" => 80,
            _ => 1,
        };
        let endpoints = [("a", "blue"), ("b", "green")].map(|(id, tag)| {
            let address = if query.namespace_name() == Some("shop") { "10.0.0.1" } else { "10.0.0.2" };
            Endpoint::builder(id, service, address, port).tag(tag).build().expect("valid").into()
        });
        Ok(EndpointSet::new(endpoints))
    }

    fn watch(&self, _: &Query) -> Option<WatchStream<'_>> {
        None
    }

    fn query(&self, service: &str) -> Result<Query, Error> {
        let (service, port) = service.split_once(':').unwrap_or((service, "1"));
        let query = Query::service(&ServiceName::new(service)?);
        Ok(query.port(port.parse::<u16>().map_err(|_| Error::invalid("port", port, "a number"))?))
    }
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_polls_is_asked_the_query_and_reads_its_own_compact_form() {
    let (cluster, asked) = Cluster::new();
    let manager = virtual_manager(cluster).build().await.expect("builds");
    let wanted = source("cluster").service("web:8080").namespace("shop").tag("green");
    let web = manager.service_from("site", [wanted]).await.expect("a handle");
    let endpoints: Vec<_> = web.endpoints().iter().map(|of| of.endpoint().to_string()).collect();
    assert_eq!(endpoints.len(), 1, "{endpoints:?}");
    let pick = web.select().expect("one");
    assert_eq!(
        (pick.endpoint().authority(), pick.endpoint().id().as_str()),
        ("10.0.0.1:8080".to_owned(), "b")
    );
    let name = ServiceName::new("web").expect("valid");
    let expected = Query::service(&name).port(8080).namespace("shop").tag("green");
    assert!(asked.lock().expect("whole").iter().all(|query| *query == expected));
    // What the query says prevails over the compact form.
    let named = source("cluster").service("web:8080").port("http");
    let named = manager.service_from("named", [named]).await.expect("a handle");
    assert_eq!(named.select().expect("one").endpoint().port(), 80);
    let error = manager.service_from("bad", [source("cluster").service("web:x")]).await.expect_err("bad");
    assert_eq!(error.kind(), ErrorKind::Validation);
    assert!(error.to_string().starts_with("port: x is not allowed"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn fallbacks_meet_the_query_and_those_that_cannot_are_left_out() {
    let (cluster, _) = Cluster::new();
    let second = MemoryProvider::new();
    put(&second, tagged("users", "x", 8, &["blue"])).await;
    put(&second, tagged("users", "y", 9, &[])).await;
    let settings = ManagerConfig::builder().fallback_enabled(true).build().expect("valid");
    let manager = virtual_manager(cluster).config(&settings).build().await.expect("builds");
    let query = Query::service(&users()).tag("blue");
    let blue = manager.service_matching(query.clone()).await.expect("a handle");
    let http = manager.service_matching(query.port("http")).await.expect("a handle");
    // A provider that is added later is a fallback of the first one alone.
    manager.register_provider(second).await.expect("adds it");
    let listed = |of: &ServiceHandle| {
        of.endpoints().iter().map(|entry| entry.endpoint().id().to_string()).collect::<Vec<_>>()
    };
    until("its endpoint", SECOND, || listed(&blue) == ["a", "x"]).await;
    assert_eq!((listed(&http), http.stats().sources.len()), (vec!["a".to_owned()], 1));
}

#[tokio::test(start_paused = true)]
async fn a_configuration_of_the_service_is_that_of_all_its_queries_until_the_last_is_gone() {
    let provider = MemoryProvider::new();
    put(&provider, tagged("users", "a", 1, &["canary"])).await;
    let settings = ManagerConfig::builder().keep_idle(SECOND).build().expect("valid");
    let manager: FailoverManager = virtual_manager(provider).config(&settings).build().await.expect("builds");
    let canary = manager.service_matching(Query::service(&users()).tag("canary")).await.expect("a handle");
    let all = manager.service("users").await.expect("a handle");
    let with = |retries| FailoverConfig::builder().max_retries(retries).build().expect("valid");
    manager.configure_service("users", with(7)).await.expect("stores");
    assert_eq!((canary.config().max_retries(), all.config().max_retries()), (7, 7));
    drop(all);
    sleep(3 * SECOND).await;
    assert_eq!(manager.stats().len(), 1, "the other one is gone");
    let delay = FailoverConfig::builder().retry_delay(7 * SECOND).build().expect("valid");
    manager.configure(delay).await.expect("stores");
    assert_eq!((canary.config().max_retries(), canary.config().retry_delay()), (7, 7 * SECOND));
    manager.configure_service("users", with(4)).await.expect("stores");
    assert_eq!(canary.config().max_retries(), 4);
}
