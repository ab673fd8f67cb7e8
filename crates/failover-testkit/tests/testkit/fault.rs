//! Each reply of the scripted server, as received.

use std::time::{Duration, Instant};

use failover_testkit::{FaultServer, Reply, Request, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn asked(server: &FaultServer) -> TcpStream {
    let mut stream = TcpStream::connect(server.address()).await.expect("connects");
    stream.write_all(b"GET /a?b=c HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sends");
    stream
}

/// Returns all bytes until the connection ends.
async fn answer(reply: impl Fn(Request) -> Reply + Send + Sync + 'static) -> std::io::Result<String> {
    let server = FaultServer::start(move |request| std::future::ready(reply(request))).await;
    let mut stream = asked(&server).await;
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut bytes)).await;
    read.expect("it ends")?;
    Ok(String::from_utf8(bytes).expect("text"))
}

#[tokio::test]
async fn what_ends_the_connection_ends_it_as_said() {
    let head = "HTTP/1.1 200 Scripted\r\n";
    assert_eq!(answer(|_| Reply::raw("SSH-2.0")).await.expect("ends"), "SSH-2.0");
    assert_eq!(answer(|_| Reply::close()).await.expect("ends"), "");
    let error = answer(|_| Reply::reset()).await.expect_err("reset");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    let truncated = answer(|_| Reply::truncated(200, "abcdef", 2)).await.expect("ends");
    assert_eq!(truncated, format!("{head}content-length: 6\r\n\r\nab"));
}

#[tokio::test]
async fn one_connection_takes_many_requests_and_each_is_kept() {
    let server =
        FaultServer::start(async |request: Request| Reply::json(404, request.target).header("x-index", "7"))
            .await;
    let mut stream = asked(&server).await;
    stream.write_all(b"PUT /d HTTP/1.1\r\ncontent-length: 2\r\n\r\nhi").await.expect("sends");
    let head = "HTTP/1.1 404 Scripted\r\ncontent-type: application/json\r\nx-index: 7\r\n";
    let expected = format!("{head}content-length: 6\r\n\r\n/a?b=c{head}content-length: 2\r\n\r\n/d");
    let mut read = vec![0; expected.len()];
    stream.read_exact(&mut read).await.expect("both answers");
    assert_eq!(String::from_utf8(read).expect("text"), expected);
    let seen = server.requests();
    assert_eq!(
        (seen[0].query("b"), seen[1].body.as_slice(), server.connections()),
        (Some("c"), b"hi".as_slice(), 1)
    );
    drop(stream);
    until(Duration::from_secs(5), "no open connection", || async { server.open_connections() == 0 }).await;
}

#[tokio::test]
async fn what_does_not_end_goes_on_until_the_client_leaves() {
    let server = FaultServer::start(async |request: Request| match request.number {
        0 => Reply::hang(),
        1 => Reply::black_hole(200),
        2 => Reply::endless(200, "x".repeat(1000)),
        _ => std::future::pending().await,
    })
    .await;
    let mut streams = Vec::new();
    for number in 0..4 {
        streams.push(asked(&server).await);
        until(Duration::from_secs(5), "the request", || async { server.request_count() == number + 1 }).await;
    }
    let quiet = Duration::from_millis(50);
    let mut buffer = vec![0; 1 << 20];
    assert!(tokio::time::timeout(quiet, streams[0].read(&mut buffer)).await.is_err(), "a hang says nothing");
    let read = streams[1].read(&mut buffer).await.expect("a head");
    assert!(String::from_utf8_lossy(&buffer[..read]).ends_with("transfer-encoding: chunked\r\n\r\n"));
    assert!(tokio::time::timeout(quiet, streams[1].read(&mut buffer)).await.is_err(), "and then nothing");
    streams[2].read_exact(&mut buffer).await.expect("a megabyte and more");
    assert_eq!(server.open_connections(), 4);
    drop(streams);
    until(Duration::from_secs(5), "no open connection", || async { server.open_connections() == 0 }).await;
}

#[tokio::test]
async fn a_stream_sends_what_the_test_sends_and_a_trickle_takes_its_time() {
    let (sender, reply) = Reply::stream(200);
    let slot = std::sync::Mutex::new(Some(reply));
    let server = FaultServer::start(move |_| {
        let reply = slot.lock().expect("whole").take();
        std::future::ready(reply.unwrap_or_else(|| Reply::trickle(200, "abc", Duration::from_millis(20))))
    })
    .await;
    let mut stream = asked(&server).await;
    for chunk in ["one", "two"] {
        sender.send(chunk.into()).await.expect("read");
    }
    drop(sender);
    let expected =
        "HTTP/1.1 200 Scripted\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n";
    let mut read = vec![0; expected.len()];
    stream.read_exact(&mut read).await.expect("the whole body");
    assert_eq!(String::from_utf8(read).expect("text"), expected);
    let begun = Instant::now();
    let mut stream = asked(&server).await;
    let mut read = vec![0; "HTTP/1.1 200 Scripted\r\ncontent-length: 3\r\n\r\nabc".len()];
    stream.read_exact(&mut read).await.expect("all of it");
    assert!(read.ends_with(b"abc") && begun.elapsed() >= Duration::from_millis(60));
}
