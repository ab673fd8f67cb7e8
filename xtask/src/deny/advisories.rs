//! The `RustSec` advisories for this workspace's current or possible dependencies, as of October
//! 2026.
//!
//! A snapshot: cargo-deny, if installed, reads the database itself.

/// An advisory and the first fixed version of each compatible line; if there are none, every
/// version is affected.
pub(super) struct Advisory {
    pub(super) id: &'static str,
    pub(super) name: &'static str,
    pub(super) mended: &'static [&'static str],
}

const fn advisory(id: &'static str, name: &'static str, mended: &'static [&'static str]) -> Advisory {
    Advisory { id, name, mended }
}

pub(super) const AS_OF: &str = "2026-10";

pub(super) const ADVISORIES: &[Advisory] = &[
    advisory("RUSTSEC-2026-0258", "h2", &["0.4.16"]),
    advisory("RUSTSEC-2026-0285", "rustls", &["0.21.0", "0.23.45"]),
    advisory("RUSTSEC-2026-0009", "time", &["0.3.47"]),
    advisory("RUSTSEC-2026-0190", "anyhow", &["1.0.103"]),
    advisory("RUSTSEC-2026-0007", "bytes", &["1.11.1"]),
    advisory("RUSTSEC-2026-0097", "rand", &["0.8.6", "0.9.3", "0.10.1"]),
    advisory("RUSTSEC-2026-0049", "rustls-webpki", &["0.101.0", "0.103.10"]),
    advisory("RUSTSEC-2026-0098", "rustls-webpki", &["0.103.12"]),
    advisory("RUSTSEC-2026-0099", "rustls-webpki", &["0.103.12"]),
    advisory("RUSTSEC-2026-0104", "rustls-webpki", &["0.103.13"]),
    advisory("RUSTSEC-2025-0134", "rustls-pemfile", &[]),
    advisory("RUSTSEC-2026-0204", "crossbeam-epoch", &["0.9.20"]),
    advisory("RUSTSEC-2026-0253", "lru", &["0.18.2"]),
    advisory("RUSTSEC-2026-0119", "hickory-proto", &["0.26.1"]),
    advisory("RUSTSEC-2025-0023", "tokio", &["1.44.2"]),
    advisory("RUSTSEC-2025-0055", "tracing-subscriber", &["0.3.20"]),
    advisory("RUSTSEC-2025-0047", "slab", &["0.4.11"]),
    advisory("RUSTSEC-2025-0009", "ring", &["0.17.12"]),
    advisory("RUSTSEC-2025-0068", "serde_yml", &[]),
];
