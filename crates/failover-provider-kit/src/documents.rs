//! Configuration documents.

/// The most bytes that a configuration document may hold: 512 KiB.
///
/// It is Consul's limit for a value. All providers share it, so that a document that one registry
/// stores can be moved to another. A larger one is
/// [`Error::document_too_large`](failover_core::Error::document_too_large).
pub const MAX_DOCUMENT_BYTES: usize = 512 * 1024;
