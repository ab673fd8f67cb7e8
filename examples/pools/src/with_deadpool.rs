//! deadpool: a pool for each server.

use std::time::Duration;

use deadpool_postgres::{Manager, Pool, PoolError, Runtime, TimeoutType};
use failover::{CallError, Endpoint, Outcome, PerEndpoint, ServiceHandle};
use tokio_postgres::error::SqlState;
use tokio_postgres::{NoTls, Row};

use crate::sqlstate;

/// Returns the text that a query gives.
///
/// # Errors
///
/// Returns the error of the call.
pub async fn text(
    db: &ServiceHandle,
    pools: &PerEndpoint<Pool>,
    sql: &str,
) -> Result<String, CallError<PoolError>> {
    let done = db
        .call()
        .classify(|reply: Result<&Row, &PoolError>| reply.map_or_else(outcome, |_| Outcome::Success))
        .execute(async |server| {
            let client = pools.get_or_init(&server, pool).get().await?;
            Ok(client.query_one(sql, &[]).await?)
        })
        .await;
    Ok(done.map_err(CallError::without_reply)?.value.get(0))
}

fn outcome(error: &PoolError) -> Outcome {
    match error {
        PoolError::Timeout(TimeoutType::Wait) => Outcome::Local, // all connections are in use
        PoolError::Backend(error) => sqlstate::outcome(error.code().map(SqlState::code)),
        _ => Outcome::NotSent, // no connection in time
    }
}

/// Makes the pool of a server. Both limits are below the attempt timeout of 2 s.
fn pool(server: &Endpoint) -> Pool {
    let mut login = tokio_postgres::Config::new();
    login.host(server.address()).port(server.port()).user("app").dbname("postgres");
    let limit = Some(Duration::from_millis(500));
    let pool = Pool::builder(Manager::new(login, NoTls)).max_size(4).runtime(Runtime::Tokio1);
    pool.wait_timeout(limit).create_timeout(limit).build().expect("its timeouts have a runtime")
}
