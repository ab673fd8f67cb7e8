//! The calling process: calls the service by its name and counts the results.

use std::error::Error;
use std::time::{Duration, Instant};

use example_support::{Caller, Finished, HttpRules, all_are_known, say};
use failover::consul::ConsulProvider;
use failover::{FailoverConfig, FailoverManager, ServiceHandle};

use crate::SERVICE;

pub(crate) async fn call(seconds: &str) -> Result<(), Box<dyn Error>> {
    let seconds: f64 = seconds.parse()?;
    let config = FailoverConfig::builder()
        .timeout(Duration::from_secs(5))
        .attempt_timeout(Duration::from_millis(500))
        .build()?;
    let manager = FailoverManager::builder()
        .provider(ConsulProvider::from_env()?)
        .service_config(config)
        .build()
        .await?;
    let users = manager.service(SERVICE).await?;
    all_are_known(&users, 3).await?;
    let users = users.with_classifier(HttpRules);
    // The servers are on this machine, so proxies of the environment are ignored.
    let http = reqwest::Client::builder().no_proxy().build()?;
    say(0.0, "0", &format!("calls {SERVICE} for {seconds} s"));
    let caller = Caller::run(seconds, || one(users.clone(), http.clone()), || users.is_stale()).await?;
    let stats = users.stats();
    manager.close().await?;
    caller.judge(&stats, 3)
}

async fn one(users: ServiceHandle<HttpRules>, http: reqwest::Client) -> Finished {
    let began = Instant::now();
    let answer = users
        .execute(async |attempt| {
            http.get(attempt.url("/users/7")).send().await?.error_for_status()?.text().await
        })
        .await;
    Finished::new(began, answer)
}
