//! Web sockets: a connection that outlives the call that opened it, and moves when its server leaves.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use failover::{Classified, Outcome, Random, ServiceHandle};
use futures_util::StreamExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc::Sender;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// The longest time of a handshake, and the longest pause before a connection is opened again.
const HANDSHAKE: Duration = Duration::from_secs(2);
const LONGEST: Duration = Duration::from_secs(10);

/// Passes the messages of a feed on until nobody receives them, over one connection after another.
pub async fn follow(feed: &ServiceHandle, messages: &Sender<String>) {
    let (random, mut pause) = (Random::system(), Duration::from_millis(100));
    while !messages.is_closed() {
        if let Ok(pick) = feed.select() {
            let (server, departed) = (Arc::clone(pick.endpoint()), pick.departed());
            // The handshake is the call whose outcome counts.
            match timeout(HANDSHAKE, connect_async(server.url_as("ws", "/feed"))).await {
                Ok(Ok((socket, _))) => {
                    pick.finish(Outcome::Success);
                    let _in_flight = feed.keep_in_flight(&server); // as long as the connection
                    if receive(socket, departed, messages).await {
                        pause = Duration::from_millis(100);
                    }
                }
                Ok(Err(Error::Http(answer))) => {
                    pick.finish(Classified::from_http_status(answer.status().as_u16(), None));
                }
                Ok(Err(error)) => pick.finish(Classified::from_error(Outcome::Failure, &error)),
                Err(_) => pick.finish(Outcome::Timeout),
            }
        }
        // With jitter: the other clients of a server that died connect again, too.
        sleep(pause.mul_f64(random.unit())).await;
        pause = (2 * pause).min(LONGEST);
    }
}

/// Returns whether there was a message: a server that only accepts connections gets pauses.
async fn receive(
    mut socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    departed: impl Future<Output = ()>,
    messages: &Sender<String>,
) -> bool {
    let (mut departed, mut any) = (pin!(departed), false);
    loop {
        let message = tokio::select! {
            message = socket.next() => message,
            // It left the list, moved, or is drained: close in good order, and connect elsewhere.
            () = &mut departed => {
                let _ = timeout(HANDSHAKE, socket.close(None)).await;
                return any;
            }
            () = messages.closed() => return any,
        };
        match message {
            Some(Ok(Message::Text(text))) if messages.send(text.to_string()).await.is_ok() => any = true,
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {} // pings are answered by the stream
            _ => return any,
        }
    }
}
