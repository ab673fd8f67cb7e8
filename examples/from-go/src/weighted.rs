//! "Microservice Load Balancing": weighted round robin, 3 to 2 to 1.

use std::collections::BTreeMap;

use failover::config::LoadBalancerConfig;
use failover::memory::MemoryProvider;
use failover::{Algorithm, Endpoint, FailoverConfig, FailoverManager, StrategyKind};

use crate::servers::Server;
use crate::{Outcome, promise};

const CALLS: usize = 600;

pub(crate) async fn run() -> Outcome {
    // Configure load balancing for microservices
    let balancer = LoadBalancerConfig::builder()
        .algorithm(Algorithm::Weighted)
        .weight("api-server-1", 3)
        .weight("api-server-2", 2)
        .weight("api-server-3", 1)
        .build()?;
    let config = FailoverConfig::builder()
        .strategy(StrategyKind::RoundRobin)
        .probe_endpoints(true)
        .load_balancer(balancer)
        .build()?;

    let manager =
        FailoverManager::builder().provider(MemoryProvider::new()).service_config(config).build().await?;
    let mut servers = Vec::new();
    for id in ["api-server-1", "api-server-2", "api-server-3"] {
        let server = Server::http(id).await?;
        let endpoint = Endpoint::builder(id, "api", "127.0.0.1", server.port).protocol("http").build()?;
        manager.register_endpoint(endpoint).await?;
        servers.push(server);
    }

    // Execute API calls with load balancing
    let api = manager.service("api").await?;
    let http = reqwest::Client::new();
    let mut served: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..CALLS {
        // Make HTTP request to endpoint
        let request = async |endpoint: failover::Attempt| {
            http.get(endpoint.url("/users/1")).send().await?.error_for_status()?.text().await
        };
        let done = api.execute(request).await?;
        *served.entry(done.endpoint.id().to_string()).or_default() += 1;
    }
    for (id, calls) in &served {
        println!("{id}: {calls} of {CALLS} calls");
    }
    let counts: Vec<_> = served.into_values().collect();
    promise(counts == [300, 200, 100], "3 to 2 to 1, exactly", &counts)
}
