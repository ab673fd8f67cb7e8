//! gRPC health checks by a real agent.

use std::io;
use std::sync::{Arc, Mutex};

use failover_core::provider::{Provider, Query, Registry};
use failover_core::{Endpoint, Health, HealthCheck};
use failover_testkit::consul::AgentOptions;
use failover_testkit::servers::Server;
use failover_testkit::until;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::support::{SECOND, name, provider};

const SERVING: u8 = 1;
const NOT_SERVING: u8 = 2;

/// `grpc.health.v1.Health/Check`, with as much of it and of HTTP/2 as a client needs.
struct HealthServer {
    port: u16,
    says: Arc<Mutex<u8>>,
    /// The request bodies.
    asked: Arc<Mutex<Vec<Vec<u8>>>>,
    _tasks: JoinSet<()>,
}

impl HealthServer {
    async fn start(says: u8) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let (says, asked) = (Arc::new(Mutex::new(says)), Arc::default());
        let mut tasks = JoinSet::new();
        let (status, bodies) = (Arc::clone(&says), Arc::clone(&asked));
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (status, bodies) = (Arc::clone(&status), Arc::clone(&bodies));
                connections.spawn(async move {
                    let _ = serve(stream, &status, &bodies).await;
                });
            }
        });
        Self { port, says, asked, _tasks: tasks }
    }

    fn says(&self, status: u8) {
        *self.says.lock().expect("free") = status;
    }
}

async fn serve(mut stream: TcpStream, says: &Mutex<u8>, asked: &Mutex<Vec<Vec<u8>>>) -> io::Result<()> {
    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const SETTINGS: u8 = 4;
    const PING: u8 = 6;
    stream.read_exact(&mut [0; 24]).await?; // PRI * HTTP/2.0 …
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await?;
    let mut body = Vec::new();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let [.., kind, flags, _, _, _, _] = head;
        let number = |bytes: &[u8]| bytes.iter().fold(0_u32, |sum, byte| sum << 8 | u32::from(*byte));
        let id = number(&head[5..]);
        let mut payload = vec![0; number(&head[..3]) as usize];
        stream.read_exact(&mut payload).await?;
        match kind {
            SETTINGS if flags & 1 == 0 => stream.write_all(&frame(SETTINGS, 1, 0, &[])).await?,
            PING if flags & 1 == 0 => stream.write_all(&frame(PING, 1, 0, &payload)).await?,
            DATA => {
                body.extend_from_slice(&payload);
                if flags & 1 == 1 {
                    asked.lock().expect("free").push(std::mem::take(&mut body));
                    let status = *says.lock().expect("free");
                    // `:status: 200` and the content type, the message with its one field,
                    // `grpc-status: 0`.
                    let mut answer = frame(HEADERS, 4, id, b"\x88\x0f\x10\x10application/grpc");
                    answer.extend(frame(DATA, 0, id, &[0, 0, 0, 0, 2, 8, status]));
                    answer.extend(frame(HEADERS, 5, id, b"\x00\x0bgrpc-status\x010"));
                    stream.write_all(&answer).await?;
                }
            }
            _ => {}
        }
    }
}

fn frame(kind: u8, flags: u8, id: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(id.to_be_bytes());
    frame.extend(payload);
    frame
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_asks_for_the_health_of_a_service_of_grpc_on_the_newest() {
    asks(Server::Consul).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_asks_for_the_health_of_a_service_of_grpc_on_debian() {
    asks(Server::ConsulDebian).await;
}

async fn asks(server: Server) {
    let Some(agent) = AgentOptions::new(server).start() else { return };
    let health = HealthServer::start(NOT_SERVING).await;
    let consul = provider(&agent.address());
    let users = name("users");
    let check = HealthCheck::builder().interval(SECOND).healthy_threshold(1).unhealthy_threshold(1);
    for (id, path) in [("whole", "/"), ("part", "/shop.Users")] {
        let endpoint = Endpoint::builder(id, "users", "127.0.0.1", health.port).protocol("grpc");
        let check = check.clone().path(path).build().expect("valid");
        consul.register(&endpoint.health_check(check).build().expect("valid")).await.expect("registers");
    }
    let all_are = |expected: Health| {
        let (consul, users) = (&consul, &users);
        move || async move {
            let set = consul.list(&Query::service(users)).await;
            set.is_ok_and(|set| {
                set.entries().len() == 2 && set.entries().iter().all(|entry| entry.health() == expected)
            })
        }
    };
    // It starts as passing; the agent detects each change of its status.
    for (says, expected) in [
        (NOT_SERVING, Health::Unhealthy),
        (SERVING, Health::Healthy),
        (NOT_SERVING, Health::Unhealthy),
        (SERVING, Health::Healthy),
    ] {
        health.says(says);
        until(SECOND * 10, &format!("both are {expected}"), all_are(expected)).await;
    }
    let asked = health.asked.lock().expect("free").clone();
    for body in [&b"\0\0\0\0\0"[..], &b"\0\0\0\0\x0c\n\x0ashop.Users"[..]] {
        assert!(asked.iter().any(|asked| asked == body), "{body:?} in {asked:?}");
    }
    let found = consul.get(&users, &"part".try_into().expect("valid")).await.expect("there");
    assert_eq!(found.endpoint().health_check().expect("it has one").path(), "/shop.Users");
}
