//! redis: one connection to each server, which all calls share.

use std::time::Duration;

use failover::{CallError, Endpoint, Outcome, PerEndpoint, ServiceHandle};
use redis::aio::MultiplexedConnection;
use redis::{AsyncCommands, AsyncConnectionConfig, ErrorKind, RedisError, ServerErrorKind};

/// Returns the value of a key.
///
/// # Errors
///
/// Returns the error of the call.
pub async fn get(
    cache: &ServiceHandle,
    connections: &PerEndpoint<MultiplexedConnection>,
    key: &str,
) -> Result<Option<String>, CallError<RedisError, Option<String>>> {
    let done = cache
        .call()
        .classify(|reply: Result<&Option<String>, &RedisError>| {
            reply.map_or_else(outcome, |_| Outcome::Success)
        })
        .execute(async |server| {
            let connection = connections.get_or_try_init(&server, || connect(&server)).await?;
            let value = MultiplexedConnection::clone(&connection).get(key).await;
            if value.as_ref().is_err_and(RedisError::is_unrecoverable_error) {
                connections.remove_if_same(&server, &connection); // the next call connects again
            }
            value
        })
        .await?;
    Ok(done.value)
}

fn outcome(error: &RedisError) -> Outcome {
    use ServerErrorKind::{BusyLoading, ClusterDown, MasterDown, ReadOnly, TryAgain};

    match error.kind() {
        // Answered, and not executed: another server may do it, even for a call that is not idempotent.
        ErrorKind::Server(BusyLoading | ClusterDown | MasterDown | ReadOnly | TryAgain) => Outcome::NotSent,
        ErrorKind::Server(_) | ErrorKind::Extension | ErrorKind::UnexpectedReturnType => Outcome::Rejected,
        _ if error.is_connection_refusal() => Outcome::NotSent,
        _ if error.is_timeout() => Outcome::Timeout,
        _ => Outcome::Failure,
    }
}

async fn connect(server: &Endpoint) -> Result<MultiplexedConnection, RedisError> {
    let limits = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(Duration::from_millis(500)))
        .set_response_timeout(Some(Duration::from_secs(1))); // both are below the attempt timeout of 2 s
    let client = redis::Client::open((server.address(), server.port()))?;
    client.get_multiplexed_async_connection_with_config(&limits).await
}
