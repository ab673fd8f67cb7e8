//! Servers that are processes of their own.

use std::process::Command;
use std::time::Duration;

use failover_testkit::{Process, TempDir, free_port, until};
use failover_tonic::{AnsweredBy, FailoverChannel};

use crate::greeter::GreeterClient;
use crate::server::{self, Greeter, service};

const PORT: &str = "FAILOVER_TONIC_TEST_PORT";

/// Not a test: the server process of [`start`], which is this binary again.
#[test]
#[ignore = "started by the tests that need a process"]
fn serve() {
    let Ok(port) = std::env::var(PORT) else { return };
    let listener = std::net::TcpListener::bind(format!("127.0.0.1:{port}")).expect("the port is free");
    listener.set_nonblocking(true).expect("a socket");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(server::serve(listener, Greeter::default(), None));
}

async fn start(logs: &TempDir) -> (Process, String) {
    let port = free_port();
    let mut command = Command::new(std::env::current_exe().expect("this binary"));
    command.args(["--exact", "processes::serve", "--ignored", "--nocapture"]).env(PORT, port.to_string());
    let process = Process::start(&command, &logs.path().join(port.to_string())).expect("starts");
    let address = format!("127.0.0.1:{port}");
    let listens = || async { tokio::net::TcpStream::connect(&address).await.is_ok() };
    until(Duration::from_secs(20), "the server listens", listens).await;
    (process, format!("http://{address}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_fails_while_one_server_is_killed_and_one_frozen() {
    let logs = TempDir::new().expect("a directory");
    let (mut first, mut second, third) = (start(&logs).await, start(&logs).await, start(&logs).await);
    let users = service([first.1.clone(), second.1.clone(), third.1.clone()]);
    let client = GreeterClient::new(FailoverChannel::new(users.clone()));
    let mut answered = 0;
    for round in 0..60 {
        match round {
            20 => first.0.kill(),
            40 => second.0.pause(),
            _ => {}
        }
        let calls = (0..8).map(|call| {
            let mut client = client.clone();
            async move {
                if call % 4 == 0 {
                    let mut numbers = client.count("3".to_owned()).await.expect("no call fails").into_inner();
                    let mut last = String::new();
                    while let Some(number) = numbers.message().await.expect("no stream breaks off") {
                        last = number;
                    }
                    assert_eq!(last, "3");
                } else {
                    let reply = client.hello(format!("ada {call}")).await.expect("no call fails");
                    assert!(reply.extensions().get::<AnsweredBy>().is_some(), "it says who answered");
                    assert_eq!(*reply.get_ref(), format!("hello ada {call}"));
                }
            }
        });
        answered += futures_util::future::join_all(calls).await.len();
    }
    let stats = users.stats();
    assert_eq!((answered, stats.failed_requests, stats.in_flight), (480, 0, 0));
    assert!(stats.retried > 0, "{stats:?}");
}
