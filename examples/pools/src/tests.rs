//! The code of the page, on real servers.

mod postgres;
mod redis;
mod web_socket;

use std::collections::BTreeSet;
use std::time::Duration;

use failover::{Endpoint, FailoverConfig, ServiceHandle};

/// A service with one endpoint for each port, named after it.
fn service(protocol: &str, ports: &[u16], retries: u32) -> ServiceHandle {
    let config = FailoverConfig::builder().attempt_timeout(Duration::from_secs(2)).max_retries(retries);
    let service = ServiceHandle::builder("the-service").endpoints(endpoints(protocol, ports));
    service.config(config.build().expect("valid")).build().expect("valid")
}

fn endpoints(protocol: &str, ports: &[u16]) -> Vec<Endpoint> {
    let endpoint = |port: &u16| Endpoint::builder(port.to_string(), "the-service", "127.0.0.1", *port);
    ports.iter().map(|port| endpoint(port).protocol(protocol).build().expect("valid")).collect()
}

/// The code of the page is part of the files here.
#[test]
fn the_code_of_the_page_is_what_the_tests_run() {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let files = [
        include_str!("sqlstate.rs"),
        include_str!("with_bb8.rs"),
        include_str!("with_deadpool.rs"),
        include_str!("with_redis.rs"),
        include_str!("with_sqlx.rs"),
        include_str!("with_tokio_postgres.rs"),
        include_str!("with_web_socket.rs"),
    ]
    .map(words);
    let page = include_str!("../../../docs/pools.md");
    let blocks: Vec<_> =
        page.split("```rust\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let mut shown = BTreeSet::new();
    for block in &blocks {
        let file = files.iter().position(|file| file.contains(&words(block)));
        shown.insert(file.unwrap_or_else(|| panic!("in no file: {block}")));
    }
    assert_eq!(shown.len(), files.len(), "the page shows each file");
}
