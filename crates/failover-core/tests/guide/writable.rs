//! A registry that accepts endpoints: the third shape of the guide for providers.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use failover_core::provider::{
    AddressTrust, EndpointEntry, EndpointSet, Feature, Provider, ProviderInfo, Query, Registry,
};
use failover_core::{
    Endpoint, EndpointId, Error, ErrorKind, Health, Lifecycle, ServiceName, async_trait, codes,
};
use tokio::fs;
use tokio::sync::Mutex;

/// A directory with a JSON file for each endpoint.
pub(super) struct Shelf {
    directory: PathBuf,
    /// Held from a read to the write that follows from it; counts the writes.
    writing: Mutex<u64>,
    closed: AtomicBool,
}

impl Shelf {
    pub(super) fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into(), writing: Mutex::default(), closed: AtomicBool::new(false) }
    }

    /// Returns the file of an endpoint. An id can be any text, and would not do as a name.
    fn file(&self, service: &ServiceName, id: &EndpointId) -> Result<PathBuf, Error> {
        let hexadecimal: Vec<_> = id.as_str().bytes().map(|byte| format!("{byte:02x}")).collect();
        let name = format!("{service}.{}.json", hexadecimal.concat());
        if name.len() > 200 {
            let message = format!("{service}/{id}: together too long for the name of a file");
            return Err(Error::new(ErrorKind::Unsupported, message).with_code(codes::TOO_LARGE));
        }
        Ok(self.directory.join(name))
    }

    /// Writes an entry: whole or not at all, whenever the future is dropped or the process ends.
    async fn write(&self, entry: EndpointEntry, count: &mut u64) -> Result<(), Error> {
        let endpoint = entry.endpoint();
        let (file, text) = (self.file(endpoint.service(), endpoint.id())?, serde_json::to_string(&entry));
        *count += 1;
        let new = file.with_extension(format!("{}-{count}", std::process::id()));
        let text = text.map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
        fs::write(&new, text).await.map_err(|error| self.down(error))?;
        fs::rename(new, file).await.map_err(|error| self.down(error))
    }

    async fn read(&self, file: PathBuf) -> Result<EndpointEntry, Error> {
        let text = match fs::read_to_string(&file).await {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                self.ping().await?;
                return Err(Error::new(ErrorKind::NotFound, format!("{}: there is none", file.display())));
            }
            read => read.map_err(|error| self.down(error))?,
        };
        serde_json::from_str(&text).map_err(|error| Error::bad_answer(file.display(), error))
    }

    fn down(&self, error: std::io::Error) -> Error {
        Error::unreachable(self.directory.display(), error)
    }

    fn open(&self) -> Result<(), Error> {
        if self.closed.load(Relaxed) { Err(Error::closed("shelf")) } else { Ok(()) }
    }
}

#[async_trait]
impl Registry for Shelf {
    async fn register(&self, endpoint: &Endpoint) -> Result<(), Error> {
        self.open()?;
        let mut count = self.writing.lock().await;
        self.write(public(endpoint)?.into(), &mut count).await
    }

    async fn update(&self, endpoint: &Endpoint) -> Result<(), Error> {
        let mut count = self.writing.lock().await;
        // The claims about the endpoint are not its owner's to change here.
        let known = self.get(endpoint.service(), endpoint.id()).await?;
        let entry = EndpointEntry::new(public(endpoint)?);
        let entry = entry.with_health(known.health()).with_lifecycle(known.lifecycle());
        self.write(entry, &mut count).await
    }

    async fn deregister(&self, service: &ServiceName, id: &EndpointId) -> Result<bool, Error> {
        let _writing = self.writing.lock().await;
        match self.get(service, id).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            found => {
                found?;
                fs::remove_file(self.file(service, id)?).await.map_err(|error| self.down(error))?;
                Ok(true)
            }
        }
    }

    async fn get(&self, service: &ServiceName, id: &EndpointId) -> Result<EndpointEntry, Error> {
        self.open()?;
        self.read(self.file(service, id)?).await
    }

    async fn set_health(&self, service: &ServiceName, id: &EndpointId, health: Health) -> Result<(), Error> {
        let mut count = self.writing.lock().await;
        self.write(self.get(service, id).await?.with_health(health), &mut count).await
    }

    async fn set_lifecycle(
        &self,
        service: &ServiceName,
        id: &EndpointId,
        lifecycle: Lifecycle,
    ) -> Result<(), Error> {
        let mut count = self.writing.lock().await;
        self.write(self.get(service, id).await?.with_lifecycle(lifecycle), &mut count).await
    }
}

/// Removes what may be secret from the health check: others can read the directory.
fn public(endpoint: &Endpoint) -> Result<Endpoint, Error> {
    match endpoint.health_check() {
        Some(check) => endpoint.to_builder().health_check(check.without_secrets()).build(),
        None => Ok(endpoint.clone()),
    }
}

#[async_trait]
impl Provider for Shelf {
    fn info(&self) -> ProviderInfo {
        ProviderInfo::new("shelf", "1.0.0")
            .with_features([Feature::Registry])
            .with_trust(AddressTrust::Loopback)
    }

    async fn connect(&self) -> Result<(), Error> {
        self.closed.store(false, Relaxed);
        self.ping().await
    }

    async fn ping(&self) -> Result<(), Error> {
        fs::metadata(&self.directory).await.map(drop).map_err(|error| self.down(error))
    }

    async fn close(&self) -> Result<(), Error> {
        self.closed.store(true, Relaxed);
        Ok(())
    }

    async fn list(&self, query: &Query) -> Result<EndpointSet, Error> {
        self.open()?;
        let mut set = EndpointSet::new([]);
        let mut files = fs::read_dir(&self.directory).await.map_err(|error| self.down(error))?;
        while let Some(file) = files.next_entry().await.map_err(|error| self.down(error))? {
            if file.path().extension().is_none_or(|ending| ending != "json") {
                continue;
            }
            match self.read(file.path()).await {
                Ok(entry) => set.push(entry),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) if error.code() == codes::BAD_ANSWER => {
                    set.reject(file.file_name().to_string_lossy(), error);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(set.matching(query))
    }

    fn registry(&self) -> Option<&dyn Registry> {
        Some(self)
    }
}
