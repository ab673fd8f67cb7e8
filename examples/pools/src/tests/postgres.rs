//! The clients of `PostgreSQL`: a server is killed, all connections of a pool are in use, and a server
//! leaves the service.

use std::time::Duration;

use failover::inspect::Forced;
use failover::{AttemptClass, CallError, FailoverConfig, PerEndpoint, ServiceHandle};
use failover_testkit::postgres::{Installation, Postgres};
use failover_testkit::until;
use tokio::task::JoinSet;
use tokio_postgres::NoTls;

use super::{endpoints, service};
use crate::{with_bb8, with_deadpool, with_sqlx, with_tokio_postgres};

const PORT: &str = "SELECT inet_server_port()::text";
const SLOW: &str = "SELECT pg_sleep(3)::text";
const WRONG: &str = "SELECT no_such_column::text";

/// Starts this many servers, or skips the test.
fn servers(count: usize) -> Option<Vec<Postgres>> {
    let installation = Installation::get()?;
    Some((0..count).map(|_| Postgres::primary(&installation).expect("starts")).collect())
}

async fn connections(server: &Postgres) -> i64 {
    let (client, connection) = tokio_postgres::connect(&server.parameters(), NoTls).await.expect("connects");
    tokio::spawn(connection);
    let others = "SELECT count(*) FROM pg_stat_activity \
        WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
    client.query_one(others, &[]).await.expect("reads").get(0)
}

/// Both servers answer; then one is killed, and no call fails; then it leaves the service, which keeps
/// no connection to it.
async fn survives<T: Send + Sync + 'static, E: 'static, R>(
    call: impl AsyncFn(&ServiceHandle, &PerEndpoint<T>, &str) -> Result<String, CallError<E, R>>,
) {
    let Some(mut servers) = servers(2) else { return };
    let ports = [servers[0].port(), servers[1].port()];
    let db = service("postgres", &ports, 2);
    let values = PerEndpoint::new(&db);
    let mut seen = Vec::new();
    for _ in 0..20 {
        seen.push(call(&db, &values, PORT).await.expect("answers"));
    }
    assert!(ports.iter().all(|port| seen.contains(&port.to_string())), "{seen:?}");
    assert_eq!(values.len(), 2);

    // Taken out of use, a server keeps its pool: it may return at once.
    db.force(&ports[1].to_string(), Forced::Out, Duration::from_secs(60)).expect("known");
    assert_eq!((call(&db, &values, PORT).await.expect("answers"), values.len()), (ports[0].to_string(), 2));
    db.force(&ports[1].to_string(), Forced::Out, Duration::ZERO).expect("known");
    let error = call(&db, &values, WRONG).await.expect_err("the caller's own mistake");
    assert_eq!(error.attempts().last().map(|attempt| attempt.class), Some(AttemptClass::Rejected));

    servers[0].kill().expect("stops");
    for number in 0..20 {
        let port = call(&db, &values, PORT).await.unwrap_or_else(|error| panic!("call {number}: {error}"));
        assert_eq!(port, ports[1].to_string());
    }

    // The killed one returns, with connections made anew.
    servers[0].start("").expect("starts");
    db.replace_endpoints(endpoints("postgres", &ports[..1])).expect("valid");
    assert_eq!(values.len(), 1, "the other's pool is dropped with it");
    until(Duration::from_secs(20), "an answer", || async {
        call(&db, &values, PORT).await.is_ok_and(|port| port == ports[0].to_string())
    })
    .await;
    until(Duration::from_secs(20), "no connection", || async { connections(&servers[1]).await == 0 }).await;
}

/// All connections of the only server's pool are in use: the call that finds none is told so, and the
/// server is not to blame.
async fn is_exhausted<T: Send + Sync + 'static, E: Send + 'static, R: Send + 'static, F>(
    call: impl Fn(ServiceHandle, PerEndpoint<T>, &'static str) -> F,
) where
    F: Future<Output = Result<String, CallError<E, R>>> + Send + 'static,
{
    let Some(servers) = servers(1) else { return };
    let db = service("postgres", &[servers[0].port()], 0);
    // Far more than the slow queries take, on a busy machine too.
    let patient = FailoverConfig::builder().attempt_timeout(Duration::from_secs(15)).max_retries(0);
    db.configure(patient.build().expect("valid")).expect("valid");
    let values = PerEndpoint::new(&db);
    let mut slow = JoinSet::new();
    for _ in 0..4 {
        slow.spawn(call(db.clone(), values.clone(), SLOW));
    }
    until(Duration::from_secs(20), "four connections", || async { connections(&servers[0]).await == 4 })
        .await;
    let error = call(db.clone(), values.clone(), PORT).await.expect_err("none is free");
    assert_eq!(error.attempts()[0].class, AttemptClass::Local, "{error}");
    while let Some(result) = slow.join_next().await {
        assert!(result.expect("no panic").is_ok());
    }

    // A server that is down is told from that.
    servers[0].kill().expect("stops");
    let mut down = JoinSet::new();
    for _ in 0..8 {
        down.spawn(call(db.clone(), values.clone(), PORT));
    }
    while let Some(result) = down.join_next().await {
        let error = result.expect("no panic").expect_err("it is down");
        let class = error.attempts().last().map(|attempt| attempt.class);
        assert!(!matches!(class, Some(AttemptClass::Local)), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokio_postgres_survives_a_server() {
    survives(with_tokio_postgres::text).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deadpool_survives_a_server() {
    survives(with_deadpool::text).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bb8_survives_a_server() {
    survives(with_bb8::text).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlx_survives_a_server() {
    survives(with_sqlx::text).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deadpool_tells_an_exhausted_pool_from_a_server_that_is_down() {
    is_exhausted(async |db, pools, sql| with_deadpool::text(&db, &pools, sql).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bb8_tells_an_exhausted_pool_from_a_server_that_is_down() {
    is_exhausted(async |db, pools, sql| with_bb8::text(&db, &pools, sql).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlx_tells_an_exhausted_pool_from_a_server_that_is_down() {
    is_exhausted(async |db, pools, sql| with_sqlx::text(&db, &pools, sql).await).await;
}
