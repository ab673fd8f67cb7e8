//! The scenario: two servers, two programs that write to them, and what happens to the servers.

use std::error::Error;
use std::time::{Duration, Instant};

use failover::Endpoint;
use failover::events::{EventKind, EventReceiver};
use failover_testkit::postgres::{Installation, Postgres, USER};
use tokio::task::spawn_blocking;
use tokio_postgres::{Client, Config, NoTls};

use crate::client::Database;
use crate::multi_host::MultiHost;
use crate::say::{LIBRARY, PLAIN, SERVERS, say};
use crate::verdict::Verdict;
use crate::writers::{Failed, PAUSE, Program, WRITERS, Writers};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// The seconds between what happens.
const BEFORE: Duration = Duration::from_secs(3);
const WITHOUT_PRIMARY: Duration = Duration::from_secs(2);
const AFTER: Duration = Duration::from_secs(2);

/// The interval at which new events are shown.
const TELL: Duration = Duration::from_millis(20);

const TABLES: [&str; 2] = ["failover", "multi_host"];

pub(crate) async fn story(installation: &Installation) -> Outcome<()> {
    let mut run = Run::new(installation).await?;
    run.pass(BEFORE).await;

    say(run.begun, SERVERS, "kills db-1: pg_ctl stop -m immediate");
    run.act(|servers| servers[0].kill()).await?;
    run.pass(WITHOUT_PRIMARY).await;

    say(run.begun, SERVERS, "promotes db-2: pg_ctl promote");
    run.act(|servers| servers[1].promote()).await?;
    run.pass(AFTER).await;

    say(run.begun, SERVERS, "starts db-1 again: a second primary that accepts writes");
    // Otherwise it would wait for a standby with each commit.
    run.act(|servers| servers[0].start("-c synchronous_standby_names=")).await?;
    say(run.begun, SERVERS, "db-1 accepts writes");
    run.pass(AFTER).await;

    say(run.begun, SERVERS, "both programs start again, and know nothing of what has been");
    run.stop().await;
    run.start()?;
    run.pass(AFTER).await;
    run.stop().await;
    run.judge().await
}

/// The servers and the programs.
struct Run {
    begun: Instant,
    /// `db-1` and `db-2`.
    servers: Option<[Postgres; 2]>,
    ports: [u16; 2],
    /// Of the library, and of the connection string with both hosts.
    writers: [Writers; 2],
    events: Option<EventReceiver>,
    told_failures: usize,
    told_seconds: u64,
}

impl Run {
    async fn new(installation: &Installation) -> Outcome<Self> {
        println!("Creates a database (initdb), and copies it to a standby (pg_basebackup) ...");
        let installation = installation.clone();
        let servers = spawn_blocking(move || -> std::io::Result<_> {
            let primary = Postgres::primary(&installation)?;
            let standby = primary.standby()?;
            Ok([primary, standby])
        });
        let servers = servers.await??;
        prepare(&servers[0]).await?;
        let ports @ [primary, standby] = servers.each_ref().map(Postgres::port);
        println!("db-1, the primary, listens on port {primary}; db-2, its standby, on {standby}.");
        let pause = PAUSE.as_millis();
        println!("Each program has {WRITERS} writers, which pause {pause} ms after each write.");
        let (begun, writers) = (Instant::now(), TABLES.map(Writers::new));
        let servers = Some(servers);
        let mut run =
            Self { begun, servers, ports, writers, events: None, told_failures: 0, told_seconds: 0 };
        run.start()?;
        Ok(run)
    }

    /// Starts both programs, with pools that have no connection yet.
    fn start(&mut self) -> Outcome<()> {
        let [db_1, db_2] = self.ports;
        let all = [endpoint("db-1", db_1, 0)?, endpoint("db-2", db_2, 1)?];
        let mut login = Config::new();
        login.user(USER).dbname("postgres");
        let database = Database::new(&all, login.clone(), WRITERS)?;
        self.events = Some(database.service.subscribe());
        self.writers[0].start(&Program::Failover(database));
        self.writers[1].start(&Program::MultiHost(MultiHost::new(&all, login, WRITERS)));
        Ok(())
    }

    /// Waits until each writer has ended its write.
    async fn stop(&mut self) {
        for writers in &mut self.writers {
            writers.stop().await;
        }
        self.tell();
    }

    /// Does something to the servers while the programs run.
    async fn act(
        &mut self,
        what: impl FnOnce(&mut [Postgres; 2]) -> std::io::Result<()> + Send + 'static,
    ) -> Outcome<()> {
        let mut servers = self.servers.take().expect("one action at a time");
        let acting = spawn_blocking(move || {
            let result = what(&mut servers);
            (servers, result)
        });
        while !acting.is_finished() {
            tokio::time::sleep(TELL).await;
            self.tell();
        }
        let (servers, result) = acting.await?;
        self.servers = Some(servers);
        Ok(result?)
    }

    async fn pass(&mut self, time: Duration) {
        let begun = Instant::now();
        while begun.elapsed() < time {
            tokio::time::sleep(TELL).await;
            self.tell();
        }
    }

    /// Tells what the library reports and each write of it that failed, and the numbers once a second.
    fn tell(&mut self) {
        while let Some(event) = self.events.as_mut().and_then(EventReceiver::try_recv) {
            let of = event.endpoint.as_ref().map(ToString::to_string).unwrap_or_default();
            let what = match event.kind {
                EventKind::EndpointDown => format!("{of} is out: {}", event.reason),
                EventKind::EndpointUp => format!("{of} is in: {}", event.reason),
                EventKind::LoadBalance if !of.is_empty() => event.reason.clone(),
                _ => continue,
            };
            say(self.begun, LIBRARY, &what);
        }
        let new = self.writers[0].account(|account| account.failed[self.told_failures..].to_vec());
        self.told_failures += new.len();
        for Failed { number, why, is_unknown } in new {
            let fate = if is_unknown { "its fate is unknown" } else { "it was not executed" };
            say(self.begun, SERVERS, &format!("write {number} failed, {fate}: {why}"));
        }
        if self.begun.elapsed().as_secs() > self.told_seconds {
            self.told_seconds = self.begun.elapsed().as_secs();
            let [ours, multi_host] = &self.writers;
            let numbers =
                format!("done: failover {}; multi-host {}", self.numbers(ours), self.numbers(multi_host));
            say(self.begun, PLAIN, &numbers);
        }
    }

    fn numbers(&self, writers: &Writers) -> String {
        writers.account(|account| {
            let server = self.ports.iter().position(|port| *port == account.port);
            let server = server.map_or("none", |index| ["db-1", "db-2"][index]);
            format!("{} ({server}), {} failed", account.done.len(), account.failed.len())
        })
    }

    /// Reads both databases, prints the results, and fails if a promise is broken.
    async fn judge(&self) -> Outcome<()> {
        let [old, new] = self.servers.as_ref().expect("no action is under way");
        let (old, new) = (connect(old).await?, connect(new).await?);
        let mut verdicts = Vec::new();
        for writers in &self.writers {
            let account = writers.account(Clone::clone);
            verdicts.push(Verdict::of(&account, writers.table(), &new, &old).await?);
        }
        println!("\nThe connection string with both hosts and target_session_attrs=read-write:");
        println!("{}\nfailover:", verdicts[1]);
        verdicts[0].notes.iter().for_each(|note| println!("{note}"));
        println!("{}", verdicts[0]);
        let faults = &verdicts[0].faults;
        if faults.is_empty() {
            return Ok(());
        }
        let first = faults.iter().take(3).cloned().collect::<Vec<_>>().join("; ");
        Err(format!("{} broken promises: {first}", faults.len()).into())
    }
}

/// Creates the tables. From then on, the primary reports a write as done when the standby has it, too:
/// otherwise a failover can lose writes that were reported as done.
async fn prepare(primary: &Postgres) -> Outcome<()> {
    let client = connect(primary).await?;
    for table in TABLES {
        let columns = "number bigint, at timestamptz DEFAULT clock_timestamp()";
        client.batch_execute(&format!("CREATE TABLE {table} ({columns})")).await?;
    }
    client.batch_execute("ALTER SYSTEM SET synchronous_standby_names = '*'").await?;
    client.batch_execute("SELECT pg_reload_conf()").await?;
    let is_sync = "SELECT count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'sync'";
    let begun = Instant::now();
    while !client.query_one(is_sync, &[]).await?.get::<_, bool>(0) {
        if begun.elapsed() > Duration::from_secs(30) {
            return Err("the standby does not follow".into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

pub(crate) fn endpoint(name: &str, port: u16, priority: u32) -> Result<Endpoint, failover::Error> {
    let endpoint = Endpoint::builder(name, "orders-db", "127.0.0.1", port);
    endpoint.protocol("postgres").priority(priority).build()
}

pub(crate) async fn connect(server: &Postgres) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(&server.parameters(), NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}
