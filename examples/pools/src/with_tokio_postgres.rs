//! tokio-postgres without a pool: one connection to each server, which all calls share.

use std::time::Duration;

use failover::{CallError, Endpoint, Outcome, PerEndpoint, ServiceHandle};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error, NoTls, Row};

use crate::sqlstate;

/// Returns the text that a query gives.
///
/// # Errors
///
/// Returns the error of the call.
pub async fn text(
    db: &ServiceHandle,
    clients: &PerEndpoint<Client>,
    sql: &str,
) -> Result<String, CallError<Error>> {
    let done = db
        .call()
        .classify(|reply: Result<&Row, &Error>| match reply {
            Ok(_) => Outcome::Success,
            Err(error) => sqlstate::outcome(error.code().map(SqlState::code)),
        })
        .execute(async |server| {
            let client = clients.get_or_try_init(&server, || connect(&server)).await?;
            let row = client.query_one(sql, &[]).await;
            if client.is_closed() {
                clients.remove_if_same(&server, &client); // the next call connects again
            }
            row
        })
        .await;
    Ok(done.map_err(CallError::without_reply)?.value.get(0))
}

async fn connect(server: &Endpoint) -> Result<Client, Error> {
    let mut login = tokio_postgres::Config::new();
    login.host(server.address()).port(server.port()).user("app").dbname("postgres");
    let (client, connection) = login.connect_timeout(Duration::from_secs(1)).connect(NoTls).await?;
    tokio::spawn(connection); // ends with the client, and when the connection is lost
    Ok(client)
}
