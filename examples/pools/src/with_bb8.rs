//! bb8: a pool for each server.

use std::time::Duration;

use bb8::{Pool, RunError};
use bb8_postgres::PostgresConnectionManager;
use failover::{CallError, Classified, Endpoint, Outcome, PerEndpoint, ServiceHandle};
use tokio_postgres::error::SqlState;
use tokio_postgres::{NoTls, Row};

use crate::sqlstate;

/// A pool of connections to one server.
pub type Connections = Pool<PostgresConnectionManager<NoTls>>;

/// Returns the text that a query gives.
///
/// # Errors
///
/// Returns the error of the call.
pub async fn text(
    db: &ServiceHandle,
    pools: &PerEndpoint<Connections>,
    sql: &str,
) -> Result<String, CallError<(Outcome, RunError<tokio_postgres::Error>)>> {
    let done = db
        .call()
        .classify(|reply: Result<&Row, &(Outcome, RunError<tokio_postgres::Error>)>| match reply {
            Ok(_) => Outcome::Success.into(),
            Err((outcome, error)) => Classified::new(*outcome, error),
        })
        .execute(async |server| {
            let pool = pools.get_or_init(&server, pool);
            let client = pool.get().await.map_err(|error| (outcome(&pool, &error), error))?;
            let row = client.query_one(sql, &[]).await.map_err(RunError::User);
            row.map_err(|error| (outcome(&pool, &error), error))
        })
        .await;
    Ok(done.map_err(CallError::without_reply)?.value.get(0))
}

/// bb8 waits for a server that it cannot connect to like for a connection that is in use: whether it has
/// all its connections tells which it was.
fn outcome(pool: &Connections, error: &RunError<tokio_postgres::Error>) -> Outcome {
    match error {
        RunError::TimedOut if pool.state().connections == pool.config().max_size => Outcome::Local,
        RunError::TimedOut => Outcome::NotSent,
        RunError::User(error) => sqlstate::outcome(error.code().map(SqlState::code)),
    }
}

/// Makes the pool of a server. Its limit is below the attempt timeout of 2 s.
fn pool(server: &Endpoint) -> Connections {
    let mut login = tokio_postgres::Config::new();
    login.host(server.address()).port(server.port()).user("app").dbname("postgres");
    let limit = Duration::from_millis(500);
    let pool = Pool::builder().max_size(4).connection_timeout(limit);
    pool.build_unchecked(PostgresConnectionManager::new(login, NoTls))
}
