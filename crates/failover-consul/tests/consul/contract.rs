//! The contract of the provider with the network, recorded: every request of every operation, and what
//! becomes of every kind of answer.
//!
//! The recordings are files beside this module. Builds with and without consulrs are compared with
//! the same files, byte by byte, so neither can differ from the other. After an intended change,
//! `FAILOVER_RECORD=1 cargo test -p failover-consul --test consul contract::` writes them again.

mod agent;
mod answers;
mod operations;
mod requests;
mod tls;

use std::path::Path;

use failover_core::{Error, ErrorKind};

/// Compares a text with the recording of this name.
fn compare(name: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/consul/contract").join(name);
    if std::env::var_os("FAILOVER_RECORD").is_some() {
        return std::fs::write(&file, text).expect("a file of this crate");
    }
    let recorded = std::fs::read_to_string(&file).unwrap_or_default();
    let now = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&now, text).expect("a file of the build");
    let mut lines = recorded.lines().zip(text.lines()).zip(1..);
    let differs = lines.find(|((recorded, now), _)| recorded != now);
    assert!(
        recorded == text,
        "{} differs from {}, first in {differs:?}; {} and {} lines",
        now.display(),
        file.display(),
        text.lines().count(),
        recorded.lines().count()
    );
}

/// Describes an error, without its text. Whether a timeout is to be retried depends on which of two
/// equal deadlines is noticed first.
fn describe(error: &Error) -> String {
    match error.kind() {
        ErrorKind::Timeout => format!("Timeout {}", error.code()),
        kind => format!("{kind:?} {} {:?}", error.code(), error.retry()),
    }
}
