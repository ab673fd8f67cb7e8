//! The files that credentials were read from, to notice that they were replaced.

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// More of a file is not compared.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// Files and a hash of each content.
#[derive(Clone, Debug, Default)]
pub(crate) struct CredentialFiles(Arc<[(PathBuf, u64)]>);

impl CredentialFiles {
    /// Reads the files on this thread.
    pub(crate) fn of(files: impl IntoIterator<Item = PathBuf>) -> Self {
        Self(files.into_iter().map(|file| (hash(&file), file)).map(|(hash, file)| (file, hash)).collect())
    }

    /// Adds files, read on this thread.
    pub(crate) fn add(&mut self, files: impl IntoIterator<Item = PathBuf>) {
        let added = Self::of(files);
        self.0 = self.0.iter().chain(added.0.iter()).cloned().collect();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns whether one has another content now; reads them on this thread.
    pub(crate) fn have_changed(&self) -> bool {
        self.0.iter().any(|(file, before)| hash(file) != *before)
    }
}

/// Returns the hash of a file's content. A file that cannot be read counts as empty, and so does a
/// pipe, which can be read only once.
fn hash(file: &Path) -> u64 {
    let mut content = Vec::new();
    let is_file = file.metadata().is_ok_and(|metadata| metadata.is_file());
    if let Some(file) = is_file.then(|| File::open(file).ok()).flatten() {
        let _ = file.take(MAX_BYTES).read_to_end(&mut content);
    }
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    hasher.finish()
}
