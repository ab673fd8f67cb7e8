//! The client: a pool for each server, and writes to the one primary. This is all that a program needs.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering::SeqCst};
use std::time::Duration;

use deadpool_postgres::{Hook, HookError, Manager, Pool, PoolError, Runtime, TimeoutType};
use failover::config::{CircuitBreakerConfig, LoadBalancerConfig};
use failover::{Algorithm, CallError, Classified, Classify, Endpoint, FailoverConfig, HealthCheck};
use failover::{Outcome, PerEndpoint, ServiceHandle};
use tokio::time::timeout;
use tokio_postgres::{Client, Config, NoTls, error::SqlState};

/// How often the roles are asked for. A third of it is the time of each other server to tell its own.
const PROBE: Duration = Duration::from_millis(500);
/// How long a pool may take: less than an attempt, so that one that sent nothing ends with its error.
const POOL: Duration = Duration::from_secs(1);
/// The timeline rises with each promotion. A primary has it in the name of its log file.
const ROLE: &str = "SELECT pg_is_in_recovery(), CASE WHEN pg_is_in_recovery() THEN 0 \
    ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int END";

struct Servers {
    all: Vec<Endpoint>,
    login: Config,
    newest: AtomicI32,
}

impl Servers {
    /// Fails unless the server is the primary of the newest timeline. The others are asked after `client`
    /// has connected, so that a server which was replaced while it was down never passes.
    async fn check(&self, server: &Endpoint, client: &Client) -> Result<(), String> {
        for other in self.all.iter().filter(|other| other.id() != server.id()) {
            let asked = timeout(PROBE / 3, async { self.ask(&self.connect(other).await?).await }).await;
            if asked.is_err() && self.newest.load(SeqCst) == 0 {
                return Err(format!("{} does not tell whether it has replaced this one", other.id()));
            }
        }
        let (standby, timeline) = self.ask(client).await.map_err(|error| error.to_string())?;
        match self.newest.load(SeqCst) {
            _ if standby => Err("it is a standby".to_owned()),
            newest if timeline < newest => Err(format!("it was replaced: timeline {timeline}, not {newest}")),
            _ => Ok(()),
        }
    }

    async fn ask(&self, client: &Client) -> Result<(bool, i32), tokio_postgres::Error> {
        let role = client.query_one(ROLE, &[]).await?;
        self.newest.fetch_max(role.get(1), SeqCst);
        Ok((role.get(0), role.get(1)))
    }

    async fn connect(&self, server: &Endpoint) -> Result<Client, tokio_postgres::Error> {
        let (client, connection) = self.login_to(server).connect(NoTls).await?;
        tokio::spawn(connection); // ends with the client
        Ok(client)
    }

    fn login_to(&self, server: &Endpoint) -> Config {
        self.login.clone().host(server.address()).port(server.port()).connect_timeout(POOL).clone()
    }

    /// A server that stops closes all connections of its pool, and each new one is checked before its use.
    fn pool(self: &Arc<Self>, server: &Endpoint, size: usize) -> Pool {
        let (servers, of) = (Arc::clone(self), server.clone());
        let check = Hook::async_fn(move |client, _| {
            let (servers, of) = (Arc::clone(&servers), of.clone());
            Box::pin(async move { servers.check(&of, client).await.map_err(HookError::message) })
        });
        let pool = Pool::builder(Manager::new(self.login_to(server), NoTls)).post_create(check);
        let pool = pool.max_size(size).wait_timeout(Some(POOL)).create_timeout(Some(POOL));
        pool.runtime(Runtime::Tokio1).build().expect("its timeouts have a runtime")
    }
}

#[derive(Clone)]
pub(crate) struct Database {
    pub(crate) service: ServiceHandle<SqlRules>,
    pools: PerEndpoint<Pool>,
    servers: Arc<Servers>,
    size: usize,
}

impl Database {
    /// One primary and its standbys, and the size of the pools.
    pub(crate) fn new(all: &[Endpoint], login: Config, size: usize) -> Result<Self, failover::Error> {
        let servers = Arc::new(Servers { all: all.to_vec(), login, newest: AtomicI32::new(0) });
        let asked = Arc::clone(&servers);
        let is_primary = move |server: Arc<Endpoint>| {
            let asked = Arc::clone(&asked);
            async move {
                let client = asked.connect(&server).await.map_err(|error| error.to_string())?;
                asked.check(&server, &client).await
            }
        };
        let check = HealthCheck::builder().interval(PROBE).unhealthy_threshold(2).healthy_threshold(1);
        let breaker = CircuitBreakerConfig::builder().recovery_timeout(PROBE).build()?; // the probe is sooner
        let first = LoadBalancerConfig::builder().algorithm(Algorithm::First).build()?;
        // Rather no server than the wrong one; and the calls of the time without one wait for the next.
        let config = FailoverConfig::builder().load_balancer(first).circuit_breaker(breaker).fail_fast(true);
        let config = config.max_retries(10).timeout(20 * POOL).attempt_timeout(5 * POOL).build()?;
        let service = ServiceHandle::builder("orders-db").endpoints(all.to_vec()).config(config);
        let service = service.probe("postgres", is_primary).health_check(check.build()?).build()?;
        let pools = PerEndpoint::new(&service);
        Ok(Self { service: service.with_classifier(SqlRules), pools, servers, size })
    }

    /// Writes a row, and returns the port of the server that has it.
    pub(crate) async fn write(&self, sql: &str, number: i64) -> Result<i32, CallError<SqlError, i32>> {
        let write = self.service.call().idempotent(false).wait_ready(true).execute(async |server| {
            let pool = self.pools.get_or_init(&server, |server| self.servers.pool(server, self.size));
            let client = pool.get().await.map_err(|error| SqlError(false, error))?;
            let row =
                client.query_one(sql, &[&number]).await.map_err(|error| SqlError(true, error.into()))?;
            Ok(row.get(0))
        });
        Ok(write.await?.value)
    }
}

/// The error of a write, and whether the write had been sent.
pub(crate) struct SqlError(bool, PoolError);

/// What an error says of the server and of the write. Only what was not executed is repeated.
#[derive(Clone)]
pub(crate) struct SqlRules;

impl<T> Classify<T, SqlError> for SqlRules {
    fn classify(&self, reply: Result<&T, &SqlError>) -> Classified {
        match reply {
            Ok(_) => Outcome::Success.into(),
            Err(SqlError(_, PoolError::Timeout(TimeoutType::Wait))) => Outcome::Local.into(), // a small pool
            Err(SqlError(sent, PoolError::Backend(error))) => {
                let code = error.code().map_or("", SqlState::code);
                Classified::from_error(of_state(code, *sent), error)
            }
            Err(SqlError(_, error)) => Classified::from_error(Outcome::NotSent, error),
        }
    }
}

/// The outcome of an SQLSTATE, or of none: the connection failed, or was lost.
pub(crate) fn of_state(code: &str, sent: bool) -> Outcome {
    match (code, code.get(..2).unwrap_or_default()) {
        ("25006" | "57P03", _) => Outcome::NotSent, // a standby, or one that starts: not executed
        (_, "53") => Outcome::Overload(None),       // no connection, no memory, no disk
        _ if !sent => Outcome::NotSent,
        ("" | "57P01" | "57P02", _) | (_, "08" | "58" | "XX") => Outcome::Failure, // executed, or not
        _ => Outcome::Rejected, // an answer: a constraint, or a conflict, to be tried again as a whole
    }
}
