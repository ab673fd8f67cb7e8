//! A registry that pushes changes: the second shape of the guide for providers.

use std::net::SocketAddr;
use std::time::Duration;

use failover_core::provider::{EndpointSet, Feature, Provider, ProviderInfo, Query, WatchStream};
use failover_core::{Endpoint, Error, ErrorKind, ServiceName, async_trait};
use futures_util::stream;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// A registry to which a client sends the name of a service. It answers with a line of `ip:port`, and with
/// another line after each change.
pub(super) struct Pushes {
    registry: SocketAddr,
    closed: watch::Sender<bool>,
}

type Connection = BufReader<TcpStream>;
type State = (Query, Option<Connection>, Duration);

impl Pushes {
    pub(super) fn new(registry: SocketAddr) -> Self {
        Self { registry, closed: watch::Sender::new(false) }
    }

    async fn subscribe(&self, service: &ServiceName) -> Result<Connection, Error> {
        let down = |error| Error::unreachable(self.registry, error);
        let mut stream = TcpStream::connect(self.registry).await.map_err(down)?;
        stream.write_all(format!("{service}\n").as_bytes()).await.map_err(down)?;
        Ok(BufReader::new(stream))
    }

    async fn next(&self, query: &Query, connection: &mut Option<Connection>) -> Result<EndpointSet, Error> {
        let service = query
            .service_name()
            .ok_or_else(|| Error::new(ErrorKind::Unsupported, "pushes: name a service"))?;
        if connection.is_none() {
            let limit = Duration::from_secs(5);
            let made = timeout(limit, self.subscribe(service)).await;
            *connection = Some(made.unwrap_or_else(|_| Err(Error::timed_out(self.registry, limit)))?);
        }
        let mut line = String::new();
        // A line has an end, whatever the registry sends.
        let read = connection.as_mut().expect("it was made").take(1 << 20).read_line(&mut line).await;
        if let Err(error) = read {
            return Err(Error::connection_lost(self.registry, error));
        }
        let Some(line) = line.strip_suffix('\n') else {
            return Err(Error::connection_lost(self.registry, "it ended within an answer"));
        };
        let mut set = EndpointSet::new([]);
        for place in line.split_whitespace() {
            let wanted =
                |_| Error::invalid("endpoint", place, "an address and a port, such as 10.0.0.1:8080");
            let built = place.parse::<SocketAddr>().map_err(wanted).and_then(|at| {
                Endpoint::builder(place, service.clone(), at.ip().to_string(), at.port()).build()
            });
            match built {
                Ok(endpoint) => set.push(endpoint.into()),
                Err(error) => set.reject(place, error),
            }
        }
        Ok(set.matching(query))
    }

    /// Returns the next item of a watch, after a pause, and the state for the one after it.
    async fn item(
        &self,
        (query, mut connection, pause): State,
    ) -> Option<(Result<EndpointSet, Error>, State)> {
        let mut closed = self.closed.subscribe();
        let next = async {
            sleep(pause).await;
            self.next(&query, &mut connection).await
        };
        let item = tokio::select! {
            item = next => item,
            _ = closed.wait_for(|closed| *closed) => return None,
        };
        match item {
            Ok(set) => Some((Ok(set), (query, connection, Duration::ZERO))),
            // The stream goes on: it subscribes again, but not at once.
            Err(error) => Some((Err(error), (query, None, Duration::from_secs(1)))),
        }
    }
}

#[async_trait]
impl Provider for Pushes {
    fn info(&self) -> ProviderInfo {
        ProviderInfo::new("pushes", "1.0.0").with_features([Feature::Watch])
    }

    async fn connect(&self) -> Result<(), Error> {
        self.closed.send_replace(false);
        self.ping().await
    }

    async fn ping(&self) -> Result<(), Error> {
        TcpStream::connect(self.registry)
            .await
            .map(drop)
            .map_err(|error| Error::unreachable(self.registry, error))
    }

    async fn close(&self) -> Result<(), Error> {
        self.closed.send_replace(true);
        Ok(())
    }

    async fn list(&self, query: &Query) -> Result<EndpointSet, Error> {
        if *self.closed.borrow() { Err(Error::closed("pushes")) } else { self.next(query, &mut None).await }
    }

    fn watch(&self, query: &Query) -> Option<WatchStream<'_>> {
        let begun = (query.clone(), None, Duration::ZERO);
        Some(Box::pin(stream::unfold(begun, move |state| self.item(state))))
    }
}
