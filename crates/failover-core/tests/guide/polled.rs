//! A source that can only be asked: the first shape of the guide for providers.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use failover_core::provider::{AddressTrust, EndpointSet, Provider, ProviderInfo, Query};
use failover_core::{Endpoint, Error, ErrorKind, ServiceName, async_trait};
use tokio::fs;

/// A directory with a list for each service: `users.txt` has an `ip:port` in each line.
pub(super) struct Lists {
    directory: PathBuf,
    closed: AtomicBool,
}

impl Lists {
    pub(super) fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into(), closed: AtomicBool::new(false) }
    }
}

#[async_trait]
impl Provider for Lists {
    fn info(&self) -> ProviderInfo {
        // Who can write these files is trusted to name this machine's own address.
        ProviderInfo::new("lists", "1.0.0").with_trust(AddressTrust::Loopback)
    }

    async fn connect(&self) -> Result<(), Error> {
        self.closed.store(false, Relaxed);
        self.ping().await
    }

    async fn ping(&self) -> Result<(), Error> {
        let there = fs::metadata(&self.directory).await;
        there.map(drop).map_err(|error| Error::unreachable(self.directory.display(), error))
    }

    async fn close(&self) -> Result<(), Error> {
        self.closed.store(true, Relaxed);
        Ok(())
    }

    async fn list(&self, query: &Query) -> Result<EndpointSet, Error> {
        if self.closed.load(Relaxed) {
            return Err(Error::closed("lists"));
        }
        let Some(service) = query.service_name() else {
            return Err(Error::new(ErrorKind::Unsupported, "lists: name a service"));
        };
        // The absence of a list says something only where the directory is.
        self.ping().await?;
        let text = match fs::read_to_string(self.directory.join(format!("{service}.txt"))).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(EndpointSet::unknown_service());
            }
            read => read.map_err(|error| Error::unreachable(service, error))?,
        };
        let mut set = EndpointSet::new([]).with_ttl(Duration::from_secs(2));
        for line in text.lines() {
            match endpoint(service, line) {
                Ok(endpoint) => set.push(endpoint.into()),
                Err(error) => set.reject(line, error),
            }
        }
        Ok(set.matching(query))
    }
}

/// Reads a line. The place is the id: another endpoint at the same place is the same one.
fn endpoint(service: &ServiceName, line: &str) -> Result<Endpoint, Error> {
    let wanted = || Error::invalid("endpoint", line, "an address and a port, such as 10.0.0.1:8080");
    let (address, port) = line.rsplit_once(':').ok_or_else(wanted)?;
    Endpoint::builder(line, service.clone(), address, port.parse::<u16>().map_err(|_| wanted())?).build()
}
