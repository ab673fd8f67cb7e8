//! Every operation of the provider that sends requests.

use std::future::poll_fn;
use std::pin::Pin;

use failover_consul::{Consistency, ConsulBuilder, ConsulProvider};
use failover_core::provider::{ConfigKey, EndpointSet, Provider, Query, Registry, Revision};
use failover_core::{Endpoint, EndpointId, Error, Health, HealthCheck, Lifecycle};
use failover_testkit::until;
use tokio::time::timeout;

use super::agent::Agent;
use super::describe;
use crate::support::{SECOND, builder, endpoint, name};

pub(super) const TOKEN: &str = "5b1c7d0e-cafe-4000-8000-00c0ffeec0de";

type Outcome<'a> = Pin<Box<dyn Future<Output = String> + Send + 'a>>;

/// What exists before an operation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    Nothing,
    Registered,
    Draining,
}

#[derive(Clone, Copy)]
pub(super) struct Operation {
    pub(super) name: &'static str,
    before: Before,
    /// Whether it goes on until dropped, so that only its first requests are recorded.
    pub(super) is_watch: bool,
    /// Whether the provider does it by itself, so that nobody gets its outcome.
    pub(super) is_unasked: bool,
    run: for<'a> fn(&'a ConsulProvider) -> Outcome<'a>,
}

const fn of(
    name: &'static str,
    before: Before,
    run: for<'a> fn(&'a ConsulProvider) -> Outcome<'a>,
) -> Operation {
    Operation { name, before, is_watch: false, is_unasked: false, run }
}

pub(super) fn operations() -> Vec<Operation> {
    use Before::{Draining, Nothing, Registered};

    let mut all = vec![
        of("connect", Nothing, |consul| Box::pin(async move { unit(consul.connect().await) })),
        of("ping", Nothing, |consul| Box::pin(async move { unit(consul.ping().await) })),
        of("list a service", Nothing, |consul| {
            Box::pin(async move { set(consul.list(&Query::service(&name("users"))).await) })
        }),
        of("list a service without instances", Nothing, |consul| {
            Box::pin(async move { set(consul.list(&Query::service(&name("none"))).await) })
        }),
        of("list all services", Nothing, |consul| {
            Box::pin(async move { set(consul.list(&Query::all()).await) })
        }),
        of("get", Registered, |consul| Box::pin(get(consul, "a"))),
        of("get from another node", Nothing, |consul| Box::pin(get(consul, "x"))),
        of("register with a time to live", Nothing, |consul| {
            Box::pin(async move { unit(consul.register(&endpoint("a", "users", 1)).await) })
        }),
        of("register with a check", Nothing, |consul| {
            Box::pin(async move { unit(consul.register(&checked()).await) })
        }),
        of("update", Registered, |consul| {
            Box::pin(async move {
                let changed = endpoint("a", "users", 1).to_builder().weight(9).build().expect("valid");
                unit(consul.update(&changed).await)
            })
        }),
        of("set the health", Registered, |consul| {
            Box::pin(async move { unit(consul.set_health(&name("users"), &id("a"), Health::Degraded).await) })
        }),
        of("drain", Registered, |consul| Box::pin(lifecycle(consul, Lifecycle::Draining))),
        of("change the reason of maintenance", Draining, |consul| {
            Box::pin(lifecycle(consul, Lifecycle::Maintenance))
        }),
        of("end maintenance", Draining, |consul| Box::pin(lifecycle(consul, Lifecycle::InService))),
        of("deregister", Registered, |consul| Box::pin(deregister(consul, "a"))),
        of("deregister what is not there", Nothing, |consul| Box::pin(deregister(consul, "gone"))),
        of("deregister by the name with the node", Registered, |consul| {
            Box::pin(deregister(consul, "a@own"))
        }),
        of("what became of a registration", Nothing, |consul| {
            Box::pin(async move { debug(consul.registration(&endpoint("a", "users", 1)).await) })
        }),
        of("load a document", Nothing, |consul| Box::pin(load(consul, ConfigKey::Service(name("users"))))),
        of("load a document that is not there", Nothing, |consul| Box::pin(load(consul, ConfigKey::Default))),
        of("store a new document", Nothing, |consul| Box::pin(store(consul, None))),
        of("store a document again", Nothing, |consul| Box::pin(store(consul, Some("7")))),
        of("close", Registered, |consul| Box::pin(async move { unit(consul.close().await) })),
    ];
    let watches = [
        of("watch a service", Nothing, |consul| {
            Box::pin(async move {
                let users = name("users");
                let mut stream = consul.watch(&Query::service(&users)).expect("it watches");
                let next = poll_fn(|context| stream.as_mut().poll_next(context));
                match timeout(SECOND * 5, next).await {
                    Ok(item) => {
                        let shown = set(item.expect("it goes on"));
                        // The next request is the one that waits.
                        let _ = timeout(SECOND, poll_fn(|context| stream.as_mut().poll_next(context))).await;
                        shown
                    }
                    Err(_) => "nothing".to_owned(),
                }
            })
        }),
        of("watch the documents", Nothing, |consul| {
            Box::pin(async move {
                let store = consul.config_store().expect("it keeps configuration");
                let mut stream = store.watch();
                let next = poll_fn(|context| stream.as_mut().poll_next(context));
                match timeout(SECOND * 5, next).await {
                    Ok(item) => {
                        let shown = debug(item.expect("it goes on"));
                        let _ = timeout(SECOND, poll_fn(|context| stream.as_mut().poll_next(context))).await;
                        shown
                    }
                    Err(_) => "nothing".to_owned(),
                }
            })
        }),
    ];
    all.extend(watches.map(|watch| Operation { is_watch: true, ..watch }));
    let beats = of("heartbeat", Registered, |consul| Box::pin(heartbeat(consul)));
    all.push(Operation { is_unasked: true, ..beats });
    all
}

/// Returns a provider with a token and the shortest time to live, and with defaults otherwise.
pub(super) fn plain(agent: &Agent) -> ConsulBuilder {
    builder(&agent.server.address().to_string()).token(TOKEN).ttl(SECOND * 10)
}

/// Returns a provider with every setting that changes requests.
pub(super) fn far(agent: &Agent) -> ConsulBuilder {
    builder(&format!("{}/proxy", agent.server.url()))
        .token(TOKEN)
        .datacenter("dc1")
        .namespace("team")
        .consistency(Consistency::Consistent)
        .config_prefix("apps/failover")
        .wait(SECOND * 7)
        .ttl(SECOND * 10)
}

impl Operation {
    /// Makes what exists before the operation.
    pub(super) async fn prepare(self, consul: &ConsulProvider) {
        if self.before != Before::Nothing {
            consul.register(&endpoint("a", "users", 1)).await.expect("registers");
        }
        if self.before == Before::Draining {
            assert_eq!(lifecycle(consul, Lifecycle::Draining).await, "ok");
        }
    }

    pub(super) async fn run(self, consul: &ConsulProvider) -> String {
        (self.run)(consul).await
    }
}

fn checked() -> Endpoint {
    let check = HealthCheck::builder().path("/health").interval(SECOND).build().expect("valid");
    endpoint("a", "users", 1).to_builder().tags(["v1"]).health_check(check).build().expect("valid")
}

fn id(text: &str) -> EndpointId {
    EndpointId::new(text).expect("valid")
}

async fn get(consul: &ConsulProvider, of: &str) -> String {
    match consul.get(&name("users"), &id(of)).await {
        Ok(entry) => format!("ok {} {:?} {:?}", entry.endpoint(), entry.health(), entry.lifecycle()),
        Err(error) => describe(&error),
    }
}

async fn lifecycle(consul: &ConsulProvider, to: Lifecycle) -> String {
    unit(consul.set_lifecycle(&name("users"), &id("a"), to).await)
}

async fn deregister(consul: &ConsulProvider, of: &str) -> String {
    debug(consul.deregister(&name("users"), &id(of)).await)
}

async fn load(consul: &ConsulProvider, key: ConfigKey) -> String {
    debug(consul.config_store().expect("it keeps configuration").load(&key).await)
}

async fn store(consul: &ConsulProvider, revision: Option<&str>) -> String {
    let store = consul.config_store().expect("it keeps configuration");
    let revision = revision.map(Revision::new);
    debug(store.store(&ConfigKey::Service(name("users")), "{\"max_retries\":1}", revision.as_ref()).await)
}

async fn heartbeat(consul: &ConsulProvider) -> String {
    let before = consul.metrics().requests;
    until(SECOND * 20, "a heartbeat", || async { consul.metrics().requests > before }).await;
    "sent".to_owned()
}

fn unit(result: Result<(), Error>) -> String {
    result.map_or_else(|error| describe(&error), |()| "ok".to_owned())
}

fn debug<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    result.map_or_else(|error| describe(&error), |found| format!("ok {found:?}"))
}

fn set(result: Result<EndpointSet, Error>) -> String {
    let set = match result {
        Ok(set) => set,
        Err(error) => return describe(&error),
    };
    let endpoints: Vec<_> = set.entries().iter().map(|entry| entry.endpoint().to_string()).collect();
    let rejected: Vec<_> =
        set.rejected().iter().map(|entry| format!("{}: {}", entry.what(), describe(entry.error()))).collect();
    let (confirmed, unknown) = (set.is_confirmed(), set.is_unknown_service());
    format!("ok {endpoints:?} rejected {rejected:?} confirmed {confirmed} unknown {unknown}")
}
