//! sqlx: a pool for each server.

use std::time::Duration;

use failover::{CallError, Classified, Endpoint, Outcome, PerEndpoint, ServiceHandle};
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::sqlstate;

/// An error, with the outcome that it shows.
pub type SqlxError = (Outcome, sqlx::Error);

/// Returns the text that a query gives.
///
/// # Errors
///
/// Returns the error of the call.
pub async fn text(
    db: &ServiceHandle,
    pools: &PerEndpoint<PgPool>,
    sql: &str,
) -> Result<String, CallError<SqlxError, String>> {
    let done = db
        .call()
        .classify(|reply: Result<&String, &SqlxError>| match reply {
            Ok(_) => Outcome::Success.into(),
            Err((outcome, error)) => Classified::new(*outcome, error),
        })
        .execute(async |server| {
            let pool = pools.get_or_init(&server, pool);
            match sqlx::query_scalar(sql).fetch_one(&*pool).await {
                Ok(text) => Ok(text),
                Err(error) => Err((outcome(&server, &error).await, error)),
            }
        })
        .await?;
    Ok(done.value)
}

/// sqlx waits for a server that refuses connections like for a connection that is in use: whether the
/// server can be reached tells which it was.
async fn outcome(server: &Endpoint, error: &sqlx::Error) -> Outcome {
    let connect = || TcpStream::connect((server.address(), server.port()));
    match error {
        sqlx::Error::PoolTimedOut => match timeout(Duration::from_millis(200), connect()).await {
            Ok(Ok(_)) => Outcome::Local,
            _ => Outcome::NotSent,
        },
        sqlx::Error::Database(error) => sqlstate::outcome(error.code().as_deref()),
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) => Outcome::Failure,
        _ => Outcome::Rejected, // no such row, a column of another type: the caller's own
    }
}

/// Makes the pool of a server. Its limit is below the attempt timeout of 2 s.
fn pool(server: &Endpoint) -> PgPool {
    let login = PgConnectOptions::new_without_pgpass().host(server.address()).port(server.port());
    let pool = PgPoolOptions::new().max_connections(4).acquire_timeout(Duration::from_millis(500));
    pool.connect_lazy_with(login.username("app").database("postgres"))
}
