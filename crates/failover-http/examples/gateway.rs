//! A gateway on hyper, without a crate for its client: the rules of this crate are all its glue.
//!
//! `cargo run -p failover-http --example gateway`
//!
//! Of three servers one is overloaded, and one does not listen. The gateway answers every request, and a
//! request that no server can answer gets a status that says why.

use std::error::Error;
use std::io;
use std::net::SocketAddr;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use axum::{Router, routing::get};
use failover_core::{Endpoint, ServiceHandle};
use failover_http::{HttpRules, host, uri};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let well = serve(Router::new().route("/users/7", get(async || "ada"))).await?;
    let busy = async || (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "5")], "too busy");
    let overloaded = serve(Router::new().fallback(busy)).await?;
    let nobody = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;

    let users = ServiceHandle::fixed("users", [well, overloaded, nobody].map(|at| format!("http://{at}")))?;
    let none = ServiceHandle::fixed("none", [format!("http://{nobody}")])?;
    let gateway = |users: &ServiceHandle| {
        let users = users.clone().with_classifier(HttpRules::new());
        serve(Router::new().fallback(forward).with_state(users))
    };
    let (hopeless, gateway) = (gateway(&none).await?, gateway(&users).await?);

    for _ in 0..6 {
        println!("GET /users/7     {}", ask(gateway, "/users/7").await?);
    }
    println!("GET /users/8     {}", ask(gateway, "/users/8").await?);
    println!("no server at all {}", ask(hopeless, "/users/7").await?);
    println!("\n{}", users.explain());
    Ok(())
}

/// Forwards a request to one server after another until one answers.
async fn forward(State(users): State<ServiceHandle<HttpRules>>, request: Request) -> Response {
    let rules = HttpRules::new();
    let (target, idempotent) = (request.uri(), rules.is_idempotent(request.method(), request.headers()));
    let call = users.call().idempotent(idempotent);
    let answer = call.execute(async |server| send(&server, target).await).await;
    match answer.map(|done| done.value) {
        Ok(response) => response.map(Body::new),
        Err(error) => {
            let status = failover_http::response(&error);
            // A server's own last answer says more.
            error.into_last_reply().map_or(status, |reply| reply.map(Body::new))
        }
    }
}

/// Sends a request to one server, on a connection of its own.
async fn send(server: &Endpoint, target: &Uri) -> io::Result<Response<hyper::body::Incoming>> {
    let mut request = hyper::Request::new(Empty::<axum::body::Bytes>::new());
    *request.uri_mut() = uri(server, target).map_err(io::Error::other)?;
    request.headers_mut().insert("host", host(server).map_err(io::Error::other)?);
    let stream = TcpStream::connect((server.address(), server.port())).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tokio::spawn(connection);
    sender.send_request(request).await.map_err(io::Error::other)
}

async fn serve(routes: Router) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, routes).await });
    Ok(address)
}

/// What a client of the gateway sees.
async fn ask(gateway: SocketAddr, path: &'static str) -> Result<String, Box<dyn Error>> {
    let endpoint =
        Endpoint::builder("gateway", "gateway", gateway.ip().to_string(), gateway.port()).build()?;
    let answer = send(&endpoint, &Uri::from_static(path)).await?;
    let shown =
        |headers: &HeaderMap| headers.get("retry-after").map(|seconds| format!(", Retry-After {seconds:?}"));
    Ok(format!("{}{}", answer.status(), shown(answer.headers()).unwrap_or_default()))
}
