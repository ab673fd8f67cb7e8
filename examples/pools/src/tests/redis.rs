//! redis, with a real redis-server.

use std::process::Command;
use std::time::Duration;

use failover::{AttemptClass, PerEndpoint};
use failover_testkit::servers::{or_skip, program};
use failover_testkit::{Process, TempDir, free_ports, until};

use super::service;
use crate::with_redis::get;

fn start(directory: &TempDir, port: u16) -> Option<Process> {
    let server = or_skip(program("redis-server", "`apt-get install redis-server` gets it"))?;
    let mut command = Command::new(server);
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
    command.current_dir(directory.path());
    Some(Process::start(&command, &directory.path().join("log")).expect("starts"))
}

/// Sets a value on one server, when that accepts connections.
async fn set(port: u16, value: u16) {
    let client = ::redis::Client::open(("127.0.0.1", port)).expect("an address");
    until(Duration::from_secs(20), "redis-server", || async {
        let Ok(mut connection) = client.get_multiplexed_async_connection().await else { return false };
        let mut set = ::redis::cmd("SET");
        set.arg("port").arg(value).query_async::<()>(&mut connection).await.is_ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_survives_a_server_and_connects_to_it_again() {
    let directory = TempDir::new().expect("a directory");
    let ports: [u16; 2] = free_ports();
    let (Some(mut first), Some(_second)) = (start(&directory, ports[0]), start(&directory, ports[1])) else {
        return;
    };
    set(ports[0], ports[0]).await;
    set(ports[1], ports[1]).await;
    let cache = service("redis", &ports, 2);
    let connections = PerEndpoint::new(&cache);
    let mut seen = Vec::new();
    for _ in 0..20 {
        seen.push(get(&cache, &connections, "port").await.expect("answers").expect("is set"));
    }
    assert!(ports.iter().all(|port| seen.contains(&port.to_string())), "{seen:?}");
    assert_eq!(get(&cache, &connections, "none").await.expect("answers"), None);

    first.kill();
    for number in 0..20 {
        let value = get(&cache, &connections, "port").await;
        let value = value.unwrap_or_else(|error| panic!("call {number}: {error}"));
        assert_eq!(value, Some(ports[1].to_string()));
    }
    let _first = start(&directory, ports[0]);
    set(ports[0], ports[0]).await;
    until(Duration::from_secs(60), "an answer of the first", || async {
        get(&cache, &connections, "port").await.expect("answers") == Some(ports[0].to_string())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_the_caller_does_not_count_against_the_server() {
    let directory = TempDir::new().expect("a directory");
    let [port] = free_ports();
    let Some(_server) = start(&directory, port) else { return };
    set(port, port).await;
    let client = ::redis::Client::open(("127.0.0.1", port)).expect("an address");
    let mut connection = client.get_multiplexed_async_connection().await.expect("connects");
    let mut push = ::redis::cmd("LPUSH");
    push.arg("list").arg("a").query_async::<()>(&mut connection).await.expect("is a list");
    let cache = service("redis", &[port], 2);
    let error = get(&cache, &PerEndpoint::new(&cache), "list").await.expect_err("it is a list");
    let classes: Vec<_> = error.attempts().iter().map(|attempt| attempt.class).collect();
    assert_eq!(classes, [AttemptClass::Rejected]);
}
