//! An address that swallows connections.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

/// An address on 127.0.0.1 on which a connection is neither accepted nor refused: the queue of its
/// listener is full, and the kernel drops what asks for more.
#[derive(Debug)]
pub struct BlackHole {
    address: SocketAddr,
    _listener: TcpListener,
    _queued: Vec<TcpStream>,
}

impl BlackHole {
    /// Fills the queue of a listener on a free port.
    ///
    /// # Panics
    /// Panics if no port is free, or the queue is never full.
    pub async fn start() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a free port");
        let listener = socket.listen(1).expect("listens");
        let address = listener.local_addr().expect("it is bound");
        let mut queued = Vec::new();
        // Longer than a connection to this machine takes on a busy one.
        while let Ok(stream) = timeout(Duration::from_millis(300), TcpStream::connect(address)).await {
            queued.push(stream.expect("the queue accepts it"));
            assert!(queued.len() < 64, "the queue is never full");
        }
        Self { address, _listener: listener, _queued: queued }
    }

    /// Returns the address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}
