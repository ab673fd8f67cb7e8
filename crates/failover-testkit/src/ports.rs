//! Ports for servers that need a fixed port.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The next port of this process: each is returned once.
static NEXT: AtomicUsize = AtomicUsize::new(0);

/// Returns a port of 127.0.0.1 that is free for TCP and UDP.
///
/// The port is below the range for outgoing connections: one of those could take it before the
/// server does, or while the server restarts.
///
/// # Panics
/// Panics if none of twelve thousand is free.
pub fn free_port() -> u16 {
    let range = 20_000..32_000_u16;
    // Concurrent test programs start at different offsets.
    let offset = std::process::id() as usize * 101;
    (0..range.len())
        .map(|_| range.start + ((offset + NEXT.fetch_add(1, Ordering::Relaxed)) % range.len()) as u16)
        .find(|port| {
            let address = (Ipv4Addr::LOCALHOST, *port);
            TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok()
        })
        .expect("one of twelve thousand ports is free")
}

/// Returns distinct free ports.
///
/// # Panics
/// Panics if too few of twelve thousand are free.
pub fn free_ports<const N: usize>() -> [u16; N] {
    std::array::from_fn(|_| free_port())
}
