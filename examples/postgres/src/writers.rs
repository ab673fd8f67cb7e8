//! Writers that write one numbered row after another, and their account of it.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use failover::{AttemptClass, AttemptRecord, CallError};
use tokio::task::JoinSet;

use crate::client::Database;
use crate::multi_host::MultiHost;

/// Writers of each program, and connections of each of its pools.
pub(crate) const WRITERS: usize = 8;
/// The time from the end of a write to the beginning of the writer's next one.
pub(crate) const PAUSE: Duration = Duration::from_millis(40);

/// One of the two programs that are compared.
#[derive(Clone)]
pub(crate) enum Program {
    Failover(Database),
    MultiHost(MultiHost),
}

/// A write that failed.
#[derive(Clone, Debug)]
pub(crate) struct Failed {
    pub(crate) number: i64,
    pub(crate) why: String,
    /// Whether it may have been executed nevertheless.
    pub(crate) is_unknown: bool,
}

/// What the writers of one program report.
#[derive(Clone, Debug, Default)]
pub(crate) struct Account {
    pub(crate) done: Vec<i64>,
    pub(crate) failed: Vec<Failed>,
    /// The longest time without a finished write, and the end of the last one.
    gap: Duration,
    last: Option<Instant>,
    /// The port of the server that did the last write.
    pub(crate) port: u16,
}

/// The running writers of a program.
pub(crate) struct Writers {
    /// The table of their rows.
    table: &'static str,
    next: Arc<AtomicI64>,
    account: Arc<Mutex<Account>>,
    running: Option<(Arc<AtomicBool>, JoinSet<()>)>,
}

impl Writers {
    pub(crate) fn new(table: &'static str) -> Self {
        Self { table, next: Arc::default(), account: Arc::default(), running: None }
    }

    /// Starts the writers, with pools that have no connections yet.
    pub(crate) fn start(&mut self, program: &Program) {
        let (until, mut tasks) = (Arc::new(AtomicBool::new(false)), JoinSet::new());
        for _ in 0..WRITERS {
            let (program, table, until) = (program.clone(), self.table, Arc::clone(&until));
            let (next, account) = (Arc::clone(&self.next), Arc::clone(&self.account));
            tasks.spawn(async move {
                while !until.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let result = program.write(table, number).await;
                    account.lock().unwrap_or_else(PoisonError::into_inner).add(number, result);
                    tokio::time::sleep(PAUSE).await;
                }
            });
        }
        self.running = Some((until, tasks));
    }

    /// Waits until each writer has ended its write.
    ///
    /// # Panics
    /// Panics if a writer did.
    pub(crate) async fn stop(&mut self) {
        if let Some((until, tasks)) = self.running.take() {
            until.store(true, Ordering::Relaxed);
            tasks.join_all().await;
        }
    }

    pub(crate) fn table(&self) -> &'static str {
        self.table
    }

    pub(crate) fn account<T>(&self, read: impl FnOnce(&Account) -> T) -> T {
        read(&self.account.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Program {
    async fn write(&self, table: &str, number: i64) -> Result<i32, Failed> {
        // The server tells its own port.
        let sql = format!("INSERT INTO {table} (number) VALUES ($1) RETURNING inet_server_port()");
        match self {
            Self::Failover(database) => database.write(&sql, number).await.map_err(|error| Failed {
                number,
                is_unknown: is_unknown(&error),
                why: why(&error),
            }),
            Self::MultiHost(pool) => pool.write(&sql, number).await.map_err(|error| Failed {
                number,
                // Its errors do not tell whether the statement had been sent.
                is_unknown: true,
                why: error.to_string(),
            }),
        }
    }
}

/// The reason of the last attempt, or why there was none.
fn why<E, T>(error: &CallError<E, T>) -> String {
    let reason = error.attempts().last().and_then(AttemptRecord::reason);
    reason.map_or_else(|| error.to_string(), str::to_owned)
}

/// Whether a failed write may have been executed: its last attempt was sent, and has no answer.
fn is_unknown<E, T>(error: &CallError<E, T>) -> bool {
    let last = error.attempts().last().map(|attempt| attempt.class);
    matches!(last, Some(AttemptClass::Failure | AttemptClass::Timeout))
}

impl Account {
    fn add(&mut self, number: i64, result: Result<i32, Failed>) {
        match result {
            Ok(port) => {
                let now = Instant::now();
                self.gap = self.gap.max(self.last.map_or(Duration::ZERO, |last| now - last));
                (self.last, self.port) = (Some(now), u16::try_from(port).unwrap_or_default());
                self.done.push(number);
            }
            Err(failed) => self.failed.push(failed),
        }
    }

    /// Returns the longest time without a finished write, in milliseconds.
    pub(crate) fn gap_ms(&self) -> u128 {
        self.gap.as_millis()
    }
}
