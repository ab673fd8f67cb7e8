//! Tests of the client: its SQLSTATE rules, and with real servers, an old primary that returns before the
//! client has noticed anything.

use std::time::Duration;

use failover::{AttemptClass, Outcome};
use failover_testkit::postgres::{Installation, Postgres, USER};
use failover_testkit::until;
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::sleep;
use tokio_postgres::{Client, Config, NoTls};

use crate::client::{Database, of_state};
use crate::story::{connect, endpoint};
use crate::writers::{Program, Writers};

const INSERT: &str = "INSERT INTO failover (number) VALUES ($1) RETURNING inet_server_port()";

/// A primary with the table, and its standby, which follows without delaying a commit.
async fn servers(installation: &Installation) -> [Postgres; 2] {
    let primary = Postgres::primary(installation).expect("starts");
    let client = connect(&primary).await.expect("connects");
    let columns = "number bigint, at timestamptz DEFAULT clock_timestamp()";
    client.batch_execute(&format!("CREATE TABLE failover ({columns})")).await.expect("creates");
    let standby = primary.standby().expect("starts");
    [primary, standby]
}

fn database(servers: &[Postgres; 2]) -> Database {
    let [db_1, db_2] = servers.each_ref().map(Postgres::port);
    let all = [endpoint("db-1", db_1, 0).expect("valid"), endpoint("db-2", db_2, 1).expect("valid")];
    let mut login = Config::new();
    login.user(USER).dbname("postgres");
    Database::new(&all, login, 4).expect("valid")
}

async fn rows_since_start(server: &Postgres) -> i64 {
    let client: Client = connect(server).await.expect("connects");
    let sql = "SELECT count(*) FROM failover WHERE at >= pg_postmaster_start_time()";
    client.query_one(sql, &[]).await.expect("reads").get(0)
}

/// No call and no probe sees the old primary down: what keeps the writes from it is the check of each
/// new connection.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_client_writes_to_the_new_primary_after_the_old_one_was_replaced_unseen() {
    let Some(installation) = Installation::get() else { return };
    let mut servers = servers(&installation).await;
    let database = database(&servers);
    assert_eq!(database.write(INSERT, 1).await.expect("writes"), i32::from(servers[0].port()));
    servers[0].kill().expect("stops");
    servers[1].promote().expect("promotes");
    servers[0].start("").expect("starts");
    for number in 2..6 {
        let port = database.write(INSERT, number).await.expect("writes");
        assert_eq!(port, i32::from(servers[1].port()), "write {number}");
    }
    assert_eq!(rows_since_start(&servers[0]).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_client_writes_nothing_to_an_old_primary_that_returns_at_once() {
    let Some(installation) = Installation::get() else { return };
    let mut servers = servers(&installation).await;
    let mut writers = Writers::new("failover");
    writers.start(&Program::Failover(database(&servers)));
    let done = || writers.account(|account| account.done.len());
    until(Duration::from_secs(20), "writes", || async { done() > 20 }).await;
    tokio::task::block_in_place(|| {
        servers[0].kill().expect("stops");
        servers[1].promote().expect("promotes");
        servers[0].start("").expect("starts");
    });
    let before = done();
    until(Duration::from_secs(20), "more writes", || async { done() > before + 100 }).await;
    // Beyond several probes, which see two servers that accept writes.
    sleep(Duration::from_secs(2)).await;
    writers.stop().await;
    assert_eq!(rows_since_start(&servers[0]).await, 0);
    assert_eq!(writers.account(|account| i32::from(account.port)), i32::from(servers[1].port()));
}

/// A client that starts beside two servers that accept writes has no memory of either.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_client_never_takes_the_old_primary() {
    let Some(installation) = Installation::get() else { return };
    let servers = servers(&installation).await;
    servers[1].promote().expect("promotes");
    for number in 0..5 {
        let port = database(&servers).write(INSERT, number).await.expect("writes");
        assert_eq!(port, i32::from(servers[1].port()), "client {number}");
    }
    let client = tokio_postgres::connect(&servers[0].parameters(), NoTls).await;
    assert!(client.is_ok(), "the old primary accepts connections");
    assert_eq!(rows_since_start(&servers[0]).await, 0);
}

/// A primary that restarts, with no standby promoted: its breaker has opened meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_restarts_is_written_to_again_within_seconds() {
    let Some(installation) = Installation::get() else { return };
    let mut servers = servers(&installation).await;
    let mut writers = Writers::new("failover");
    writers.start(&Program::Failover(database(&servers)));
    let done = || writers.account(|account| account.done.len());
    until(Duration::from_secs(20), "writes", || async { done() > 20 }).await;
    tokio::task::block_in_place(|| servers[0].kill().expect("stops"));
    sleep(Duration::from_secs(2)).await;
    let before = done();
    tokio::task::block_in_place(|| servers[0].start("").expect("starts"));
    until(Duration::from_secs(3), "writes", || async { done() > before + 20 }).await;
    writers.stop().await;
    assert!(writers.account(|account| account.failed.iter().all(|failed| failed.is_unknown)));
}

/// A server that refuses writes has not executed them: they are repeated, and done once.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_a_read_only_server_refused_is_done_later_and_once() {
    let Some(installation) = Installation::get() else { return };
    let servers = servers(&installation).await;
    let database = database(&servers);
    let admin = connect(&servers[0]).await.expect("connects");
    let set = async |value: &str| {
        let set = format!("ALTER SYSTEM SET default_transaction_read_only = {value}");
        admin.batch_execute(&set).await.expect("sets");
        admin.batch_execute("SELECT pg_reload_conf()").await.expect("reloads");
    };
    set("on").await;
    let refused = {
        let service = database.service.clone();
        move || service.stats().attempts.of(AttemptClass::NotSent) > 0
    };
    // The server's processes learn of it one by one: what is written until then is done at once.
    let (writing, is_refused) = (database.clone(), refused.clone());
    let writing = tokio::spawn(async move {
        let mut number = 0;
        while !is_refused() {
            number += 1;
            writing.write(INSERT, number).await.map(drop).ok()?;
        }
        Some(number)
    });
    until(Duration::from_secs(10), "a refusal", || async { refused() }).await;
    assert!(!writing.is_finished());
    set("off").await;
    let written = writing.await.expect("no panic").expect("it is done then");
    let count = "SELECT count(*), count(DISTINCT number) FROM failover";
    let rows = admin.query_one(count, &[]).await.expect("reads");
    assert_eq!((rows.get::<_, i64>(0), rows.get::<_, i64>(1)), (written, written));
}

/// A server that does not answer may have taken over: a client that knows nothing yet waits for it, and one
/// that has seen a primary goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_silent_server_stops_a_new_client_and_no_other() {
    let Some(installation) = Installation::get() else { return };
    let servers = servers(&installation).await;
    let knows = database(&servers);
    assert_eq!(knows.write(INSERT, 1).await.expect("writes"), i32::from(servers[0].port()));
    let pid = std::fs::read_to_string(servers[1].directory().join("data/postmaster.pid")).expect("runs");
    let pid = pid.lines().next().and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw).expect("a pid");
    kill_process(pid, Signal::STOP).expect("runs");
    // Beyond several probes of the primary.
    sleep(Duration::from_secs(2)).await;
    assert_eq!(knows.write(INSERT, 2).await.expect("writes"), i32::from(servers[0].port()));
    let new = database(&servers);
    let writing = tokio::spawn(async move { new.write(INSERT, 3).await.map(drop).is_ok() });
    sleep(Duration::from_secs(2)).await;
    assert!(!writing.is_finished(), "it waits");
    kill_process(pid, Signal::CONT).expect("runs");
    assert!(writing.await.expect("no panic"), "it writes after that");
}

#[test]
fn the_code_of_the_page_is_that_of_the_client() {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let client = words(include_str!("client.rs"));
    let page = include_str!("../../../docs/databases.md");
    let blocks: Vec<_> =
        page.split("```rust\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(blocks.len(), 2);
    for block in blocks {
        assert!(client.contains(&words(block)), "{block}");
    }
}

/// What each SQLSTATE says, before and after the write was sent.
#[test]
fn what_was_not_executed_is_repeated_and_what_is_unknown_is_not() {
    for (code, connecting, sent) in [
        ("", Outcome::NotSent, Outcome::Failure),
        ("25006", Outcome::NotSent, Outcome::NotSent),
        ("57P03", Outcome::NotSent, Outcome::NotSent),
        ("57P01", Outcome::NotSent, Outcome::Failure),
        ("57P02", Outcome::NotSent, Outcome::Failure),
        ("08006", Outcome::NotSent, Outcome::Failure),
        ("58030", Outcome::NotSent, Outcome::Failure),
        ("XX000", Outcome::NotSent, Outcome::Failure),
        ("53300", Outcome::Overload(None), Outcome::Overload(None)),
        ("53100", Outcome::Overload(None), Outcome::Overload(None)),
        ("28P01", Outcome::NotSent, Outcome::Rejected),
        ("40001", Outcome::NotSent, Outcome::Rejected),
        ("23505", Outcome::NotSent, Outcome::Rejected),
        ("57014", Outcome::NotSent, Outcome::Rejected),
    ] {
        assert_eq!((of_state(code, false), of_state(code, true)), (connecting, sent), "{code}");
    }
}
