//! The registry that `pushed` speaks to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Mutex;

use failover_core::Endpoint;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

type Services = BTreeMap<String, BTreeSet<String>>;

pub(super) struct Registry {
    address: SocketAddr,
    services: watch::Sender<Services>,
    running: Mutex<JoinSet<()>>,
}

impl Registry {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let registry = Self { address, services: watch::Sender::default(), running: Mutex::default() };
        registry.serve(listener);
        registry
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn change(&self, endpoint: &Endpoint, add: bool) {
        self.services.send_modify(|services| {
            let places = services.entry(endpoint.service().to_string()).or_default();
            if add {
                places.insert(endpoint.authority());
            } else {
                places.remove(&endpoint.authority());
            }
        });
    }

    /// Closes all connections and the port, or listens again.
    pub(super) async fn outage(&self, begins: bool) {
        let mut running = std::mem::take(&mut *self.running.lock().expect("not poisoned"));
        if begins {
            running.shutdown().await;
        } else if running.is_empty() {
            let socket = TcpSocket::new_v4().expect("a socket");
            socket.set_reuseaddr(true).expect("it is set");
            socket.bind(self.address).expect("the port is free again");
            self.serve(socket.listen(64).expect("it listens"));
        } else {
            *self.running.lock().expect("not poisoned") = running;
        }
    }

    fn serve(&self, listener: TcpListener) {
        let services = self.services.clone();
        self.running.lock().expect("not poisoned").spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(push(stream, services.subscribe()));
            }
        });
    }
}

/// Sends a line of the service that the client names, and another one whenever it has changed.
async fn push(stream: TcpStream, mut services: watch::Receiver<Services>) {
    let mut stream = BufReader::new(stream);
    let mut service = String::new();
    if stream.read_line(&mut service).await.is_err() {
        return;
    }
    let mut sent = None;
    loop {
        let places = services.borrow_and_update().get(service.trim()).cloned().unwrap_or_default();
        if sent.as_ref() != Some(&places) {
            let line = places.iter().cloned().collect::<Vec<_>>().join(" ") + "\n";
            if stream.write_all(line.as_bytes()).await.is_err() {
                return;
            }
            sent = Some(places);
        }
        if services.changed().await.is_err() {
            return;
        }
    }
}
