//! Every operation on a named provider: those with `WithProvider` in their Go name.

use failover_core::provider::{EndpointSet, Provider, ProviderInfo, Query};
use failover_core::{
    EndpointRef, Error, ErrorKind, FailoverConfig, FailoverManager, Health, Lifecycle, async_trait,
};
use failover_memory::MemoryProvider;
use failover_test::ScriptedProvider;

use crate::{down, endpoint, endpoint_of, virtual_manager};

async fn manager() -> FailoverManager {
    let builder = virtual_manager(MemoryProvider::new()).provider_as("second", MemoryProvider::new());
    builder.build().await.expect("builds")
}

#[tokio::test(start_paused = true)]
async fn each_operation_works_on_a_named_provider_and_leaves_the_default_one_alone() {
    let manager = manager().await;
    let second = manager.provider("second").expect("there");
    second.register_endpoint(endpoint("a", 1)).await.expect("registers");
    second.update_endpoint(endpoint("a", 2)).await.expect("updates");
    assert_eq!(second.get_endpoint("a").await.expect("is there").endpoint().address(), "10.0.0.2");
    assert_eq!(manager.get_endpoint("a").await.expect_err("not there").kind(), ErrorKind::NotFound);
    assert_eq!(second.list_endpoints(&Query::all()).await.expect("lists").entries().len(), 1);
    assert_eq!(manager.list_endpoints(&Query::all()).await.expect("lists").entries().len(), 0);

    let users = second.service("users").await.expect("a handle");
    assert_eq!(users.select().expect("one").endpoint().id().as_str(), "a");
    let done = users.execute(async |endpoint| Ok::<_, String>(endpoint.port())).await.expect("succeeds");
    assert_eq!(done.value, 8080);

    let config = FailoverConfig::builder().max_retries(7).build().expect("valid");
    second.configure(config.clone()).await.expect("stores");
    assert_eq!(second.get_config().await.expect("reads"), config);
    assert_eq!(second.get_service_config("users").await.expect("reads").max_retries(), 7);
    assert_eq!(manager.get_config().await.expect("reads"), FailoverConfig::default());
    assert_eq!(users.config().max_retries(), 7);

    second.set_health("a", Health::Degraded).await.expect("claims");
    second.set_lifecycle("a", Lifecycle::Draining).await.expect("says so");
    let report = second.health_check("a").await.expect("is there");
    assert_eq!(report.health, Health::Degraded);
    assert_eq!(second.health_check_all().await.expect("lists").len(), 1);
    assert_eq!(second.info().kind(), "memory");
    assert!(second.deregister_endpoint("a").await.expect("removes"));
    assert!(!second.deregister_endpoint(("users", "a")).await.expect("is no error"));
}

#[tokio::test(start_paused = true)]
async fn whether_a_registry_answers_is_asked_within_the_time_of_the_manager() {
    let (provider, script) = ScriptedProvider::polled();
    let manager = virtual_manager(provider).build().await.expect("builds");
    let scope = manager.provider("scripted").expect("there");
    scope.ping().await.expect("it answers");
    script.unreachable(down("connection refused"));
    let error = scope.ping().await.expect_err("it does not answer");
    assert_eq!((error.kind(), &error.details()["provider"]), (ErrorKind::Connection, &"scripted".into()));
    manager.close().await.expect("closes");
    assert_eq!(scope.ping().await.expect_err("closed").kind(), ErrorKind::Shutdown);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_there_or_not_clear_is_named() {
    let manager = manager().await;
    let error = manager.provider("third").expect_err("there is none");
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (ErrorKind::NotFound, "no provider is named \"third\"; there are \"memory\", \"second\"",)
    );
    manager.register_endpoint(endpoint("a", 1)).await.expect("registers");
    manager.register_endpoint(endpoint_of("orders", "a", 2)).await.expect("registers");
    for which in [EndpointRef::from("a")] {
        let error = manager.get_endpoint(which).await.expect_err("in two services");
        assert_eq!(error.kind(), ErrorKind::Validation);
        assert!(error.to_string().contains("orders and users"), "{error}");
    }
    assert!(manager.get_endpoint(("orders", "a")).await.is_ok());
    let twice = virtual_manager(MemoryProvider::new()).provider(MemoryProvider::new()).build().await;
    assert!(twice.expect_err("a name twice").to_string().contains("\"memory\" twice"));
    let unknown = virtual_manager(MemoryProvider::new()).default_provider("consul").build().await;
    let error = unknown.expect_err("not registered");
    assert!(error.to_string().starts_with("default_provider: \"consul\" is not allowed"), "{error}");
}

/// A registry in which one of two entries cannot be read.
struct HalfReadable;

#[async_trait]
impl Provider for HalfReadable {
    fn info(&self) -> ProviderInfo {
        ProviderInfo::new("half", "1")
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

    async fn list(&self, _query: &Query) -> Result<EndpointSet, Error> {
        let mut set = EndpointSet::new([endpoint("a", 1).into()]);
        set.reject("entry 2", Error::invalid("port", 0, "a number from 1 to 65535"));
        Ok(set)
    }
}

#[tokio::test(start_paused = true)]
async fn a_listing_tells_what_it_leaves_out_and_why() {
    let manager = virtual_manager(HalfReadable).build().await.expect("builds");
    let listed = manager.list_endpoints(&Query::all()).await.expect("lists");
    assert_eq!((listed.entries().len(), listed.rejected_count()), (1, 1));
    let [left_out] = listed.rejected() else { unreachable!("one") };
    assert_eq!(left_out.what(), "entry 2");
    assert!(left_out.error().to_string().starts_with("port: 0 is not allowed"), "{}", left_out.error());
}
