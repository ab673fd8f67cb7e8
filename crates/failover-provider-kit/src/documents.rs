//! Configuration documents.

/// The maximum size of a configuration document: 512 KiB.
///
/// This is Consul's limit for a value. All providers share it, so that a document stored in one
/// registry can be moved to another. A larger document is an
/// [`Error::document_too_large`](failover_core::Error::document_too_large).
pub const MAX_DOCUMENT_BYTES: usize = 512 * 1024;
