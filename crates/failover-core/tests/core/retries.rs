//! Where attempts go when an endpoint fails.

use std::cell::RefCell;

use failover_core::config::CircuitBreakerConfig;
use failover_core::{FailoverConfig, ServiceHandle, StrategyKind};

use crate::bench::{count, service};

fn without_breaker(strategy: StrategyKind) -> FailoverConfig {
    let breaker = CircuitBreakerConfig::builder().enabled(false).build().expect("valid");
    FailoverConfig::builder().strategy(strategy).circuit_breaker(breaker).build().expect("valid")
}

/// Makes a call that fails at these endpoints, and returns the ids of the endpoints called.
async fn call(service: &ServiceHandle, fails: &[&str]) -> Vec<String> {
    let called = RefCell::new(Vec::new());
    let done = service.execute(async |attempt| {
        called.borrow_mut().push(attempt.id().to_string());
        if fails.contains(&attempt.id().as_str()) { Err("down") } else { Ok(()) }
    });
    done.await.ok();
    called.into_inner()
}

#[tokio::test(start_paused = true)]
async fn first_attempts_alternate_although_one_of_two_endpoints_fails() {
    for strategy in [StrategyKind::RoundRobin, StrategyKind::Weighted] {
        let service = service(without_breaker(strategy), &[2]);
        let mut first = Vec::new();
        for _ in 0..100 {
            first.push(call(&service, &["e0"]).await.swap_remove(0));
        }
        let even = [("e0".to_owned(), 50), ("e1".to_owned(), 50)];
        assert_eq!(count(first), even.into(), "{strategy}");
    }
}

#[tokio::test(start_paused = true)]
async fn before_it_is_out_a_dead_endpoint_of_two_gets_half_of_the_first_attempts() {
    let service = service(FailoverConfig::default(), &[2]);
    let mut first = Vec::new();
    for _ in 0..9 {
        first.push(call(&service, &["e0"]).await.swap_remove(0));
    }
    assert!((4..=5).contains(&count(first)["e0"]));
}
