//! Web sockets, with real servers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use failover_testkit::until;
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::Message;

use super::{endpoints, service};
use crate::with_web_socket::follow;

/// A server that sends its port every 10 ms on each connection, until it is killed.
struct Feed {
    port: u16,
    closed: Arc<AtomicUsize>,
    task: AbortHandle,
}

async fn feed() -> Feed {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let port = listener.local_addr().expect("bound").port();
    let closed = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&closed);
    let serve = async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let count = Arc::clone(&count);
            connections.spawn(async move {
                let Ok(mut socket) = accept_async(stream).await else { return };
                loop {
                    tokio::select! {
                        message = socket.next() => match message {
                            Some(Ok(Message::Close(_))) => drop(count.fetch_add(1, Relaxed)),
                            Some(Ok(_)) => {}
                            _ => return,
                        },
                        () = sleep(Duration::from_millis(10)) => {
                            let _ = socket.send(Message::text(port.to_string())).await;
                        }
                    }
                }
            });
        }
    };
    Feed { port, closed, task: tokio::spawn(serve).abort_handle() }
}

/// Receives until a message is from the server at this port.
async fn receive_from(messages: &mut mpsc::Receiver<String>, port: u16) {
    let receiving = async { while messages.recv().await.expect("a message") != port.to_string() {} };
    timeout(Duration::from_secs(20), receiving).await.expect("a message of the other server");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_moves_when_its_server_leaves_and_when_it_dies() {
    let feeds = [feed().await, feed().await];
    let ports = feeds.each_ref().map(|feed| feed.port);
    let service = service("ws", &ports, 2);
    let (sender, mut messages) = mpsc::channel(1);
    let followed = service.clone();
    let following = tokio::spawn(async move { follow(&followed, &sender).await });
    let first = messages.recv().await.expect("a message");
    assert_eq!(service.stats().in_flight, 1, "as long as the connection");
    let (first, other) = if first == ports[0].to_string() { (0, 1) } else { (1, 0) };

    // The server leaves the list: the client closes the connection in good order.
    service.replace_endpoints(endpoints("ws", &[ports[other]])).expect("valid");
    receive_from(&mut messages, ports[other]).await;
    until(Duration::from_secs(10), "a close", || async { feeds[first].closed.load(Relaxed) == 1 }).await;
    assert_eq!(service.stats().in_flight, 1);

    // The server dies: the connection is lost, and a handshake with it fails.
    service.replace_endpoints(endpoints("ws", &ports)).expect("valid");
    feeds[other].task.abort();
    receive_from(&mut messages, ports[first]).await;
    assert_eq!(service.stats().in_flight, 1);

    drop(messages);
    following.await.expect("it ends when nobody receives");
    assert_eq!(service.stats().in_flight, 0);
}
