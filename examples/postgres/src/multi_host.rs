//! What the example compares itself with: a pool whose connection string names both servers, with
//! `target_session_attrs=read-write`, so that each new connection is to the first one that accepts writes.

use std::time::Duration;

use deadpool_postgres::{Manager, Pool, PoolError, Runtime};
use failover::Endpoint;
use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres::{Config, NoTls};

#[derive(Clone)]
pub(crate) struct MultiHost(Pool);

impl MultiHost {
    pub(crate) fn new(all: &[Endpoint], mut login: Config, connections: usize) -> Self {
        for server in all {
            login.host(server.address()).port(server.port());
        }
        login.target_session_attrs(TargetSessionAttrs::ReadWrite).connect_timeout(Duration::from_secs(1));
        let pool = Pool::builder(Manager::new(login, NoTls)).max_size(connections).runtime(Runtime::Tokio1);
        let limit = Some(Duration::from_secs(5));
        let pool = pool.wait_timeout(limit).create_timeout(limit).build();
        Self(pool.expect("its timeouts have a runtime"))
    }

    /// Writes a row, and returns the port of the server that has it.
    pub(crate) async fn write(&self, sql: &str, number: i64) -> Result<i32, PoolError> {
        Ok(self.0.get().await?.query_one(sql, &[&number]).await?.get(0))
    }
}
