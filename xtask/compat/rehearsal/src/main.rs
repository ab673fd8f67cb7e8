//! A manager of core 0.2 with a provider that asks for 0.1 and one that asks for 0.2.

use failover_core::provider::{EndpointSet, Provider, ProviderInfo, Query};
use failover_core::{Endpoint, Error, FailoverManager, async_trait, retry_after};
use failover_memory::MemoryProvider;

struct New;

#[async_trait]
impl Provider for New {
    fn info(&self) -> ProviderInfo {
        ProviderInfo::new("new", "0.2.0")
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

    async fn list(&self, _: &Query) -> Result<EndpointSet, Error> {
        let endpoint = Endpoint::builder("new-1", "orders", "10.0.0.2", 80).build()?;
        Ok(EndpointSet::new([endpoint.into()]))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let manager = FailoverManager::builder().provider(MemoryProvider::new()).provider(New).build().await?;
    manager.register_endpoint(Endpoint::builder("old-1", "users", "10.0.0.1", 80).build()?).await?;
    for (source, name, expected) in [("memory", "users", "old-1"), ("new", "orders", "new-1")] {
        let service = manager.service_from(name, [(source, 0)]).await?;
        assert_eq!(service.select()?.endpoint().id().as_str(), expected);
        println!("{source}: {expected}");
    }
    assert!(retry_after("1", std::time::SystemTime::UNIX_EPOCH).is_some());
    manager.close().await
}
