//! Kills and restarts one server after another under load; no call fails.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use failover::inspect::BreakerState;
use failover::memory::MemoryProvider;
use failover::{Endpoint, FailoverManager, ServiceHandle};
use tokio::time::sleep;

use crate::calibrate::Plan;
use crate::client::{Client, HttpRules};
use crate::clock::Clock;
use crate::{config, load, servers};

/// Duration of each outage.
const DEAD: Duration = Duration::from_millis(200);
/// Interval between checks of whether a server is back in use.
const LOOK: Duration = Duration::from_millis(20);
/// Time limit until a restarted server must have been called.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) async fn story(kills: u32) -> Result<(), Box<dyn Error>> {
    let mut servers = servers::start(3)?;
    let client = Client::new()?;
    // A short recovery time, so that the next kill need not wait long.
    let plan = Plan::measure(&servers).await?;
    println!("{plan}");
    let config = config(Duration::from_millis(200), plan.attempt_timeout())?;
    let manager =
        FailoverManager::builder().provider(MemoryProvider::new()).service_config(config).build().await?;
    for server in &servers {
        let endpoint = Endpoint::builder(server.name(), "user-service", "127.0.0.1", server.port());
        manager.register_endpoint(endpoint.protocol("http").build()?).await?;
    }
    let users = manager.service("user-service").await?.with_classifier(HttpRules);
    let clock = Clock::start();
    let over = Arc::new(AtomicBool::new(false));
    let goes_on = {
        let over = Arc::clone(&over);
        move || !over.load(Ordering::Relaxed)
    };
    let load = tokio::spawn(load::run(users.clone(), client, clock, plan.rate(), goes_on));
    sleep(Duration::from_millis(500)).await;
    for kill in 0..kills {
        let server = &mut servers[kill as usize % 3];
        server.kill()?;
        sleep(DEAD).await;
        server.restart()?;
        back_in_use(&users, server.name()).await?;
        if (kill + 1) % 10 == 0 || kill + 1 == kills {
            clock.say(format_args!("{} kills", kill + 1));
        }
    }
    over.store(true, Ordering::Relaxed);
    let mut ledger = load.await??;
    let stats = users.stats();
    let mut complaints = ledger.differences(&stats);
    if ledger.failed() > 0 {
        complaints.push(format!("{} calls failed", ledger.failed()));
    }
    println!("kills={kills} {}", ledger.summary());
    manager.close().await?;
    if complaints.is_empty() { Ok(()) } else { Err(complaints.join("; ").into()) }
}

/// Waits until the server answers calls again and its breaker is closed.
async fn back_in_use(users: &ServiceHandle<HttpRules>, name: &str) -> Result<(), String> {
    let state = || {
        let stats = users.stats();
        let of = stats.endpoints.iter().find(|endpoint| endpoint.id.as_str() == name);
        of.map_or((0, BreakerState::Closed), |of| (of.successes, of.breaker))
    };
    let (before, _) = state();
    let mut waited = Duration::ZERO;
    while waited < PATIENCE {
        let (successes, breaker) = state();
        if successes > before && breaker == BreakerState::Closed {
            return Ok(());
        }
        sleep(LOOK).await;
        waited += LOOK;
    }
    Err(format!("{name} was started again and got no call in {PATIENCE:?}"))
}
