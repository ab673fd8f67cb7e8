//! A registry that pushes, as the backend of a provider.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use failover_conformance::Subject;
use failover_core::provider::Provider;
use failover_core::{Endpoint, Error, async_trait};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::pushed::Pushes;

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

    fn change(&self, service: &str, places: impl IntoIterator<Item = String>, add: bool) {
        self.services.send_modify(|services| {
            let known = services.entry(service.to_owned()).or_default();
            for place in places {
                if add {
                    known.insert(place);
                } else {
                    known.remove(&place);
                }
            }
        });
    }

    fn change_all(&self, endpoints: &[Endpoint], add: bool) {
        let service = endpoints.first().map_or("", |endpoint| endpoint.service().as_str());
        self.change(service, endpoints.iter().map(Endpoint::authority), add);
    }

    /// Closes all connections and the port, or listens again.
    async fn set_outage(&self, begins: bool) {
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

#[async_trait]
impl Subject for Registry {
    async fn provider(&self) -> Result<Arc<dyn Provider>, Error> {
        let provider = Pushes::new(self.address);
        provider.connect().await.map(|()| Arc::new(provider) as _)
    }

    async fn unconnected(&self) -> Result<Option<Arc<dyn Provider>>, Error> {
        Ok(Some(Arc::new(Pushes::new(self.address))))
    }

    async fn write(&self, _: &dyn Provider, endpoint: &Endpoint) -> Result<bool, Error> {
        self.change_all(std::slice::from_ref(endpoint), true);
        Ok(true)
    }

    async fn remove(&self, _: &dyn Provider, endpoint: &Endpoint) -> Result<bool, Error> {
        self.change_all(std::slice::from_ref(endpoint), false);
        Ok(true)
    }

    async fn write_all(&self, _: &dyn Provider, endpoints: &[Endpoint]) -> Result<bool, Error> {
        self.change_all(endpoints, true);
        Ok(true)
    }

    async fn remove_all(&self, _: &dyn Provider, endpoints: &[Endpoint]) -> Result<bool, Error> {
        self.change_all(endpoints, false);
        Ok(true)
    }

    async fn hostile(&self, service: &str, begins: bool) -> bool {
        let long = "1".repeat(100_000);
        let broken = ["10.9.9.9", "10.9.9.9:0", "10.9.9.9:70000", ":80", "\u{1b}[2J:80", "[::", &long];
        self.change(service, broken.map(str::to_owned), begins);
        true
    }

    fn has_secrets(&self) -> bool {
        false
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(20)
    }

    async fn outage(&self, begins: bool) -> bool {
        self.set_outage(begins).await;
        true
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
