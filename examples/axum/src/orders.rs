//! The service `orders`, which calls `user-service`. With `telemetry.rs`, this is all that a program
//! needs.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use failover::memory::MemoryProvider;
use failover::reqwest::{Client, Error as CallError};
use failover::{Endpoint, FailoverConfig, FailoverManager};
use tokio::net::TcpListener;
use tracing::Instrument;

use crate::telemetry;

/// The manager: here of a list, elsewhere of a registry, such as `ConsulProvider`.
pub(crate) async fn manager(users: &[SocketAddr]) -> Result<FailoverManager, Box<dyn Error>> {
    let config = FailoverConfig::builder().attempt_timeout(Duration::from_millis(500)).build()?;
    let registry = MemoryProvider::new();
    let manager = FailoverManager::builder().provider(registry).service_config(config).build().await?;
    for (number, user) in (1..).zip(users) {
        let name = format!("users-{number}");
        let endpoint = Endpoint::builder(name, "user-service", user.ip().to_string(), user.port());
        manager.register_endpoint(endpoint.protocol("http").build()?).await?;
    }
    Ok(manager)
}

/// Serves until the process is asked to end. Then it answers what it has accepted.
pub(crate) async fn serve(listener: TcpListener, manager: FailoverManager) -> Result<(), Box<dyn Error>> {
    let of = manager.clone();
    let metrics =
        async move || ([(CONTENT_TYPE, failover::metrics::CONTENT_TYPE)], failover::metrics::render(&of));
    let app = Router::new()
        .route("/orders/{id}", get(order))
        .with_state(Client::new(manager.clone())?)
        .route("/metrics", get(metrics))
        .nest("/failover", failover::status::router(&manager));
    axum::serve(listener, app).with_graceful_shutdown(asked_to_end()).await?;
    // Endpoints that this process has registered leave their registry here.
    manager.close().await?;
    Ok(())
}

async fn order(State(client): State<Client>, Path(id): Path<u64>, headers: HeaderMap) -> Response {
    let span = telemetry::server_span("GET /orders/{id}", &headers);
    async move {
        match user_of(&client, id).await {
            Ok(user) => format!("order {id} of {user}").into_response(),
            // 502, 503 with Retry-After, or 504.
            Err(CallError::Call(error)) => failover::http::response(&error),
            Err(error) => {
                tracing::error!(target: "orders", "{error}");
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
        }
    }
    .instrument(span)
    .await
}

/// Asks `user-service`: one server after another, until one answers.
async fn user_of(client: &Client, id: u64) -> Result<String, CallError> {
    let url = format!("http://user-service/users/{id}");
    let response = client.get(url).headers(telemetry::context()).send().await?;
    Ok(response.error_for_status()?.text().await?)
}

/// Completes at Ctrl-C, and at SIGTERM, which orchestrators send.
async fn asked_to_end() {
    #[cfg(unix)]
    if let Ok(mut terminated) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        tokio::select! {
            _ = terminated.recv() => return,
            _ = tokio::signal::ctrl_c() => return,
        }
    }
    let _ = tokio::signal::ctrl_c().await;
}
