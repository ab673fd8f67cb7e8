//! The file as a source that is asked, and told of changes.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use failover_core::provider::{
    AddressTrust, ConnectionInfo, ConnectionStatus, EndpointSet, Feature, ProviderInfo,
};
use failover_core::{Error, ServiceName, async_trait};
use failover_provider_kit::Source;
use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::{Mutex, watch};

use crate::document::Document;
use crate::text::Format;

/// The time between two reads that have to agree, and their number.
const SETTLE: Duration = Duration::from_millis(100);
const READS: usize = 20;

pub(crate) struct FileSource {
    path: PathBuf,
    format: Format,
    max_bytes: u64,
    interval: Duration,
    read: Mutex<Option<LastRead>>,
    changes: Arc<watch::Sender<()>>,
    open: AtomicBool,
    /// `None` if the system cannot watch the directory: then only the interval counts.
    _watcher: Option<RecommendedWatcher>,
}

/// A text and what it says.
struct LastRead {
    text: String,
    document: Result<Arc<Document>, Error>,
}

impl FileSource {
    pub(crate) fn new(path: PathBuf, interval: Duration, max_bytes: u64) -> Result<Self, Error> {
        let format = Format::of(&path)?;
        let changes = Arc::new(watch::Sender::new(()));
        let watcher = watched(&path, Arc::clone(&changes));
        let (read, open) = (Mutex::default(), AtomicBool::new(true));
        Ok(Self { path, format, max_bytes, interval, read, changes, open, _watcher: watcher })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn interval(&self) -> Duration {
        self.interval
    }

    pub(crate) fn set_open(&self, open: bool) {
        self.open.store(open, Ordering::Release);
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// Reads the file.
    pub(crate) async fn document(&self) -> Result<Arc<Document>, Error> {
        let mut last = self.read.lock().await;
        let mut text = self.text().await?;
        if let Some(last) = last.as_ref().filter(|last| last.text == text) {
            return last.document.clone();
        }
        // Who saves it may have written only a part: two reads have to agree.
        for _ in 0..READS {
            tokio::time::sleep(SETTLE).await;
            let again = self.text().await?;
            if again == text {
                break;
            }
            text = again;
        }
        let document = Document::read(&text, self.format).map(Arc::new);
        let document = document.map_err(|why| Error::bad_answer(self.path.display(), why));
        for problem in document.iter().flat_map(|document| document.problems()) {
            tracing::warn!(target: "failover::file", path = %self.path.display(), "left out: {problem}");
        }
        *last = Some(LastRead { text, document: document.clone() });
        document
    }

    async fn text(&self) -> Result<String, Error> {
        let (path, limit) = (self.path.clone(), self.max_bytes);
        let read = tokio::task::spawn_blocking(move || read(&path, limit)).await;
        let bytes = read.unwrap_or_else(|panic| Err(io::Error::other(panic)));
        let bytes = bytes.map_err(|error| Error::unreachable(self.path.display(), error))?;
        if bytes.len() as u64 > self.max_bytes {
            let limit = usize::try_from(self.max_bytes).unwrap_or(usize::MAX);
            return Err(Error::answer_too_large(self.path.display(), limit, Some("max_bytes")));
        }
        String::from_utf8(bytes).map_err(|error| {
            let valid = error.utf8_error().valid_up_to();
            Error::bad_answer(self.path.display(), format!("it is not text in UTF-8 from byte {valid} on"))
        })
    }
}

/// Reads a file, and one byte more than the limit at most.
fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    // A read of a pipe may wait for ever.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Watches the directory of a file: a file that is replaced is another file.
fn watched(path: &Path, changes: Arc<watch::Sender<()>>) -> Option<RecommendedWatcher> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let tell = move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| !is_read(event.kind)) {
            changes.send_replace(());
        }
    };
    let watching = notify::recommended_watcher(tell)
        .and_then(|mut watcher| watcher.watch(directory, RecursiveMode::NonRecursive).map(|()| watcher));
    watching
        .inspect_err(|error| {
            let path = path.display();
            tracing::warn!(target: "failover::file", %path, %error, "changes are found by reading the file at intervals");
        })
        .ok()
}

/// Reading the file is an event, too, and must not cause the next read.
fn is_read(kind: EventKind) -> bool {
    matches!(kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write))
}

#[async_trait]
impl Source for FileSource {
    fn info(&self) -> ProviderInfo {
        let address = self.path.display().to_string();
        ProviderInfo::new("file", env!("CARGO_PKG_VERSION"))
            .with_features([Feature::ConfigStore, Feature::WeightedRouting, Feature::GeographicRouting])
            .with_trust(AddressTrust::Loopback)
            .with_connection(ConnectionInfo::new(ConnectionStatus::Disconnected).with_address(address))
    }

    async fn fetch(&self, service: &ServiceName) -> Result<EndpointSet, Error> {
        Ok(self.document().await?.endpoints(service).with_ttl(self.interval))
    }

    async fn services(&self) -> Result<Vec<ServiceName>, Error> {
        Ok(self.document().await?.services())
    }

    async fn ping(&self) -> Result<(), Error> {
        self.document().await.map(drop)
    }

    async fn changed(&self) {
        // Fails only without a sender, which lives as long as the source.
        let _ = self.changes.subscribe().changed().await;
    }
}

#[cfg(test)]
mod tests {
    use notify::event::{CreateKind, DataChange, MetadataKind, ModifyKind, RemoveKind, RenameMode};

    use super::*;

    #[test]
    fn reading_is_no_change_and_all_else_is() {
        for kind in [
            AccessKind::Any,
            AccessKind::Read,
            AccessKind::Open(AccessMode::Any),
            AccessKind::Close(AccessMode::Read),
        ] {
            assert!(is_read(EventKind::Access(kind)), "{kind:?}");
        }
        for kind in [
            EventKind::Access(AccessKind::Close(AccessMode::Write)),
            EventKind::Create(CreateKind::File),
            EventKind::Modify(ModifyKind::Data(DataChange::Any)),
            EventKind::Modify(ModifyKind::Metadata(MetadataKind::Any)),
            EventKind::Modify(ModifyKind::Name(RenameMode::To)),
            EventKind::Remove(RemoveKind::File),
            EventKind::Any,
        ] {
            assert!(!is_read(kind), "{kind:?}");
        }
    }
}
