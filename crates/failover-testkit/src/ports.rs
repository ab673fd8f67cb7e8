//! Ports for servers that must be told theirs.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Handed out to nobody else in this process.
static NEXT: AtomicUsize = AtomicUsize::new(0);

/// A port of 127.0.0.1 that nobody uses, neither for TCP nor for UDP.
///
/// Below the range from which systems take the ports of outgoing connections: one of those could take it before the
/// server does, or while the server is being restarted.
///
/// # Panics
/// None of twelve thousand is free.
pub fn free_port() -> u16 {
    let range = 20_000..32_000_u16;
    // Test programs that run beside each other start at different places.
    let offset = std::process::id() as usize * 101;
    (0..range.len())
        .map(|_| range.start + ((offset + NEXT.fetch_add(1, Ordering::Relaxed)) % range.len()) as u16)
        .find(|port| {
            let address = (Ipv4Addr::LOCALHOST, *port);
            TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok()
        })
        .expect("one of twelve thousand ports is free")
}

/// As many free ports as the array has places, all different.
///
/// # Panics
/// Too few of twelve thousand are free.
pub fn free_ports<const N: usize>() -> [u16; N] {
    std::array::from_fn(|_| free_port())
}
