//! Connects providers, and connects those again that could not be reached.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::codec::duration::rough;
use crate::codec::ordinal::Ordinal;
use crate::events::{Event, EventKind, EventLog};
use crate::manager::inner::Inner;
use crate::manager::providers::Named;
use crate::runtime::backoff::Backoff;
use crate::runtime::catch_panic::catch_panic;
use crate::runtime::random::Random;
use crate::runtime::task::Task;

/// The back-off between two attempts to connect a provider.
const RECONNECT: Backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(30), 2.0);

/// Why a provider could not be connected.
enum Failure {
    Error(String),
    Panic(String),
}

impl Failure {
    fn event(self) -> Event {
        match self {
            Self::Error(problem) => {
                Event::new(EventKind::SourceStale, format!("{problem}; connecting again with a back-off"))
            }
            Self::Panic(panic) => {
                let reason = format!("panicked while connecting: {panic}; connecting again with a back-off");
                Event::new(EventKind::ProviderPanicked, reason)
            }
        }
    }
}

async fn try_connect(named: &Named, limit: Duration) -> Result<(), Failure> {
    match catch_panic(tokio::time::timeout(limit, named.provider.connect())).await {
        Ok(Ok(Ok(()))) => Ok(()),
        Ok(Ok(Err(error))) => Err(Failure::Error(error.to_string())),
        Ok(Err(_)) => Err(Failure::Error(format!("no connection in {}", rough(limit)))),
        Err(panic) => Err(Failure::Panic(panic)),
    }
}

impl Inner {
    /// Connects these providers concurrently, and waits for the first attempt of each, which has
    /// `start_timeout`. Later attempts follow in the background, until each provider is connected or
    /// the manager is closed.
    ///
    /// A dropped future has no effect on the connections.
    pub(super) async fn connect(
        self: &Arc<Self>,
        runtime: &Handle,
        providers: impl IntoIterator<Item = Named>,
    ) {
        let mut attempted = Vec::new();
        {
            let mut connecting = self.connecting();
            // Under the lock that closing takes afterwards: it finds what was added before.
            if self.ensure_open().is_err() {
                return;
            }
            connecting.retain(|task| !task.is_finished());
            for named in providers {
                let (first, ended) = oneshot::channel();
                attempted.push(ended);
                let provider = Connecting {
                    named,
                    events: Arc::clone(&self.events),
                    random: self.random.clone(),
                    start: self.settings.start_timeout(),
                    limit: self.settings.timeout(),
                };
                connecting.push(Task::spawn(runtime, provider.run(first)));
            }
        }
        for ended in attempted {
            // An error means that the manager was closed.
            let _ = ended.await;
        }
    }
}

/// A provider that is being connected.
struct Connecting {
    named: Named,
    events: Arc<EventLog>,
    random: Random,
    /// The time limit of the first attempt.
    start: Duration,
    /// The time limit of each later attempt.
    limit: Duration,
}

impl Connecting {
    /// Connects the provider; `first` receives the end of the first attempt. A failure is reported
    /// once.
    async fn run(self, first: oneshot::Sender<()>) {
        let attempt = try_connect(&self.named, self.start).await;
        let connected = attempt.is_ok();
        if let Err(failure) = attempt {
            self.emit(failure.event());
        }
        // An error means that nothing waits for the attempt any more.
        let _ = first.send(());
        if connected {
            return;
        }
        let mut attempts = 1;
        loop {
            let unit = 0.5 + 0.5 * self.random.unit();
            tokio::time::sleep(RECONNECT.delay(attempts, unit)).await;
            attempts = attempts.saturating_add(1);
            if try_connect(&self.named, self.limit).await.is_ok() {
                let reason = format!("connected in the {} attempt", Ordinal(u64::from(attempts)));
                return self.emit(Event::new(EventKind::SourceFresh, reason));
            }
        }
    }

    fn emit(&self, event: Event) {
        self.events.emit(event.provider(&self.named.name));
    }
}
