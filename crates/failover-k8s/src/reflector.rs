//! Lists objects, watches them from that version, and starts over after any failure of the
//! connection.

use std::time::Duration;

use failover_core::{Error, ErrorKind, Time, codes};
use serde_json::Value;

use crate::api::{Api, Scope};
use crate::backoff::Backoff;
use crate::error;

/// A watch that lasted this long resets the back-off.
const STEADY: Duration = Duration::from_secs(5);
/// How much longer than requested a watch may last before its connection counts as dead.
const GRACE: Duration = Duration::from_secs(5);
/// Attempts to open a watch before a new list.
const TRIES: u32 = 3;
/// Watches in a row that end before they are [`STEADY`] until they count as failing. One alone is
/// the end of a connection.
const EARLY: u32 = 3;

/// A local copy of the objects.
pub(crate) trait ReflectorStore: Send {
    /// The form in which an object is stored.
    type Item: Send;

    fn read(&self, object: Value) -> Self::Item;

    /// Replaces all objects.
    fn listed(&mut self, items: Vec<Self::Item>, version: &str);

    /// Stores a new or changed object.
    fn changed(&mut self, item: Self::Item);

    fn deleted(&mut self, item: Self::Item);

    /// Records that the objects cannot be watched for now; the copy stays.
    fn failed(&mut self, error: Error);

    /// Records that they can be watched again.
    fn recovered(&mut self);

    /// Records that the copy is current, although nothing has changed.
    fn confirmed(&mut self) {}

    /// Publishes changes. Called after each of the above, and at the time `due`.
    fn publish(&mut self, now: Time);

    /// Returns when to publish next without further events.
    fn due(&self) -> Option<Time>;
}

/// The duration of a watch, and the interval of lists.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Periods {
    pub(crate) watch: Duration,
    pub(crate) relist: Duration,
}

impl Periods {
    /// Returns from when on a watch is one that lasts. The shortest one that can be asked for is hardly
    /// longer than [`STEADY`].
    fn steady(self) -> Duration {
        STEADY.min(self.watch / 2)
    }
}

/// Why a watch ended.
enum Over {
    /// Ended normally, after its time or by the server.
    Ended,
    /// A new list is necessary, for this reason; `None` if its interval has passed.
    Relist(Option<Error>),
    /// Not opened.
    Refused(Error),
    /// Opened, then failed.
    Failed(Error),
}

/// Follows the objects of a scope until dropped.
pub(crate) async fn follow<M: ReflectorStore>(api: Api<'_>, scope: Scope, pace: Periods, mut store: M) {
    let mut backoff = Backoff::default();
    let mut state = State::default();
    loop {
        let (items, mut version) = match api.list(&scope, |object| store.read(object)).await {
            Ok(listed) => listed,
            Err(error) => {
                state.fail(&api, &mut store, &error);
                rest(&api, &mut store, &mut backoff, &error).await;
                continue;
            }
        };
        state.recover(&mut store);
        store.listed(items, &version);
        store.publish(api.client.timing.now());
        let relist = api.client.timing.now() + api.client.timing.jittered(pace.relist, 0.2);
        let mut tries = 0;
        loop {
            let began = api.client.timing.now();
            let over = watch(&api, &scope, pace, relist, &mut version, &mut store, &mut state).await;
            let steady = api.client.timing.now().since(began) >= pace.steady();
            state.ended(&over, steady);
            if steady && !matches!(over, Over::Refused(_)) {
                // A successful list alone does not reset the back-off: a server that lists but
                // refuses to watch would be asked without pause.
                backoff = Backoff::default();
                tries = 0;
            }
            let error = match over {
                Over::Relist(None) => break,
                Over::Ended => None,
                Over::Relist(Some(error)) => {
                    // The new list shows whether the failure persists.
                    rest(&api, &mut store, &mut backoff, &error).await;
                    break;
                }
                Over::Refused(error) | Over::Failed(error) => Some(error),
            };
            match error {
                None if steady => {
                    store.confirmed();
                    store.publish(api.client.timing.now());
                }
                None => {
                    let error = state.closed();
                    if state.keeps_ending() {
                        // Changes arrive only with the next watch or list.
                        tries += 1;
                        state.fail(&api, &mut store, &error);
                    }
                    rest(&api, &mut store, &mut backoff, &error).await;
                }
                Some(error) => {
                    tries += 1;
                    state.fail(&api, &mut store, &error);
                    rest(&api, &mut store, &mut backoff, &error).await;
                }
            }
            if tries >= TRIES || version.is_empty() {
                break;
            }
        }
    }
}

/// Whether the objects can be followed.
#[derive(Debug, Default)]
struct State {
    /// Whether the store was told of a failure since the last success.
    failed: bool,
    /// Watches in a row that ended early.
    early: u32,
}

impl State {
    fn fail<M: ReflectorStore>(&mut self, api: &Api<'_>, store: &mut M, error: &Error) {
        self.failed = true;
        store.failed(error.clone());
        store.publish(api.client.timing.now());
    }

    /// Tells the store of a success. Returns whether it is one after a failure.
    fn recover<M: ReflectorStore>(&mut self, store: &mut M) -> bool {
        let was_failed = std::mem::take(&mut self.failed);
        if was_failed {
            store.recovered();
        }
        was_failed
    }

    /// Counts watches that end early. One that could not be opened is a failure in any case.
    fn ended(&mut self, over: &Over, steady: bool) {
        match over {
            _ if steady => self.early = 0,
            Over::Ended | Over::Failed(_) => self.early = self.early.saturating_add(1),
            // The list that follows is current.
            Over::Refused(_) | Over::Relist(_) => {}
        }
    }

    /// Returns whether the end of a watch counts as a failure, and the start of one as no success.
    fn keeps_ending(&self) -> bool {
        self.early >= EARLY
    }

    fn closed(&self) -> Error {
        let message = match self.early {
            0..EARLY => "the watch was closed".to_owned(),
            early => {
                format!("the watch keeps ending early: {early} times in a row after less than {STEADY:?}")
            }
        };
        Error::new(ErrorKind::Connection, message).with_code("WATCH_CLOSED")
    }
}

/// Runs one watch. `version` is updated to where the next one continues.
async fn watch<M: ReflectorStore>(
    api: &Api<'_>,
    scope: &Scope,
    pace: Periods,
    relist: Time,
    version: &mut String,
    store: &mut M,
    state: &mut State,
) -> Over {
    if api.client.timing.now() >= relist {
        return Over::Relist(None);
    }
    let lasts = api.client.timing.jittered(pace.watch, 0.1);
    let mut events = match api.watch(scope, version, lasts.as_secs().max(1)).await {
        Ok(events) => events,
        Err(error) if error::wants_list(&error) => return Over::Relist(Some(error)),
        Err(error) => return Over::Refused(error),
    };
    if !state.keeps_ending() && state.recover(store) {
        store.publish(api.client.timing.now());
    }
    let steady = api.client.timing.now() + pace.steady();
    let silent = api.client.timing.now() + lasts + GRACE;
    loop {
        let due = store.due();
        let mut until = due.unwrap_or(silent).min(silent).min(relist);
        if state.failed {
            until = until.min(steady);
        }
        let event = match api.client.timing.timeout_at(until, events.next()).await {
            Some(Ok(Some(event))) => event,
            Some(Err(error)) if error.code() == codes::BAD_ANSWER => return Over::Relist(Some(error)),
            // A broken connection does not mean that the server failed; the next request shows it.
            Some(Ok(None) | Err(_)) => return Over::Ended,
            None => {
                let now = api.client.timing.now();
                if now >= steady {
                    state.recover(store);
                }
                store.publish(now);
                if now >= silent {
                    let message =
                        format!("watch: nothing came for {:?}; the connection is dead", lasts + GRACE);
                    return Over::Failed(Error::new(ErrorKind::Timeout, message).with_code("WATCH_SILENT"));
                }
                if now >= relist {
                    return Over::Relist(None);
                }
                continue;
            }
        };
        let mut over = take(event, version, store);
        if over.is_none() {
            // What arrives is current.
            state.recover(store);
        }
        // Events that arrive together are published together.
        while over.is_none() {
            over = match events.waiting() {
                None => break,
                Some(Ok(event)) => take(event, version, store),
                Some(Err(error)) => Some(Over::Relist(Some(error))),
            };
        }
        store.publish(api.client.timing.now());
        if let Some(over) = over {
            return over;
        }
    }
}

/// Applies one event; returns a value if the watch ends.
fn take<M: ReflectorStore>(mut event: Value, version: &mut String, store: &mut M) -> Option<Over> {
    let object = event.get_mut("object").map(Value::take).unwrap_or_default();
    let kind = event.get("type").and_then(Value::as_str).unwrap_or_default();
    if kind == "ERROR" {
        let code = object.get("code").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
        // A new list recovers from any error.
        return Some(Over::Relist(Some(error::of_status("watch", code.unwrap_or(500), None, &object))));
    }
    if let Some(newer) = object.pointer("/metadata/resourceVersion").and_then(Value::as_str) {
        // A deletion may have the last version of the object, which is older than what came before.
        let is_older = |known: u64, newer: u64| newer < known;
        let numbers = version.parse().ok().zip(newer.parse().ok());
        if !numbers.is_some_and(|(known, newer)| is_older(known, newer)) {
            newer.clone_into(version);
        }
    }
    match kind {
        "ADDED" | "MODIFIED" => store.changed(store.read(object)),
        "DELETED" => store.deleted(store.read(object)),
        "BOOKMARK" => store.confirmed(),
        // Unknown event types.
        _ => {}
    }
    None
}

/// Waits after an error, and publishes due changes meanwhile.
async fn rest<M: ReflectorStore>(api: &Api<'_>, store: &mut M, backoff: &mut Backoff, error: &Error) {
    let until = api.client.timing.now() + backoff.after(error, &api.client.timing);
    let waits = async {
        while let Some(due) = store.due().filter(|due| *due < until) {
            api.client.timing.sleep_until(due).await;
            store.publish(api.client.timing.now());
        }
        api.client.timing.sleep_until(until).await;
    };
    // The pause ends early when the cause of the failure is gone.
    tokio::select! {
        () = waits => {}
        () = api.client.until_mended(error) => *backoff = Backoff::default(),
    }
}
