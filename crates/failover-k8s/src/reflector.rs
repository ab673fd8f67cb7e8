//! Following objects: a list, a watch from it on, and again, through everything that a cluster does to a connection.

use std::time::Duration;

use failover_core::{Error, ErrorKind, Time, codes};
use serde_json::Value;

use crate::api::{Api, Scope};
use crate::backoff::Backoff;
use crate::error;

/// A watch that has lived for so long was a good one.
const STEADY: Duration = Duration::from_secs(5);
/// How much longer than asked for a watch may last before its connection counts as dead.
const GRACE: Duration = Duration::from_secs(5);
/// A watch that cannot be opened so often in a row is given up for a new list.
const TRIES: u32 = 3;

/// What keeps a copy of the objects.
pub(crate) trait ReflectorStore: Send {
    /// An object as the copy keeps it.
    type Item: Send;

    fn read(&self, object: Value) -> Self::Item;

    /// All objects there are.
    fn listed(&mut self, items: Vec<Self::Item>, version: &str);

    /// One that is new or has changed.
    fn changed(&mut self, item: Self::Item);

    fn deleted(&mut self, item: Self::Item);

    /// The objects cannot be followed for now; what is known stays.
    fn failed(&mut self, error: Error);

    /// They can be followed again.
    fn recovered(&mut self);

    /// Tells what is new. Called after each of the above, and when `due` has come.
    fn tell(&mut self, now: Time);

    /// When there will be something to tell although nothing happens.
    fn due(&self) -> Option<Time>;
}

/// How long a watch lasts, and after how long everything is listed again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Periods {
    pub(crate) watch: Duration,
    pub(crate) relist: Duration,
}

/// Why a watch is over.
enum Over {
    /// It ended in order, after its time or by the server's wish.
    Ended,
    /// Everything has to be listed again, for this reason; `None` when it is merely time for it.
    Relist(Option<Error>),
    /// It could not be opened.
    Refused(Error),
    /// It was open, and is not any more.
    Failed(Error),
}

/// Follows the objects of a scope until it is dropped.
pub(crate) async fn follow<M: ReflectorStore>(api: Api<'_>, scope: Scope, pace: Periods, mut mirror: M) {
    let mut backoff = Backoff::default();
    let mut failed = false;
    loop {
        let (items, mut version) = match api.list(&scope, |object| mirror.read(object)).await {
            Ok(listed) => listed,
            Err(error) => {
                failed = true;
                mirror.failed(error.clone());
                mirror.tell(api.client.timing.now());
                rest(&api, &mut mirror, &mut backoff, &error).await;
                continue;
            }
        };
        if std::mem::take(&mut failed) {
            mirror.recovered();
        }
        mirror.listed(items, &version);
        mirror.tell(api.client.timing.now());
        let relist = api.client.timing.now() + api.client.timing.jittered(pace.relist, 0.2);
        let mut tries = 0;
        loop {
            let began = api.client.timing.now();
            let over = watch(&api, &scope, pace, relist, &mut version, &mut mirror, &mut failed).await;
            let steady = api.client.timing.now().since(began) >= STEADY;
            if steady && !matches!(over, Over::Refused(_)) {
                // Not after a good list: a server that lists and always refuses to watch would be asked for ever.
                backoff = Backoff::default();
                tries = 0;
            }
            let error = match over {
                Over::Relist(None) => break,
                Over::Ended => None,
                Over::Relist(Some(error)) => {
                    // The list tells whether all is well; until then nothing is known to be wrong.
                    rest(&api, &mut mirror, &mut backoff, &error).await;
                    break;
                }
                Over::Refused(error) | Over::Failed(error) => Some(error),
            };
            match error {
                None if steady => {}
                None => rest(&api, &mut mirror, &mut backoff, &closed()).await,
                Some(error) => {
                    tries += 1;
                    failed = true;
                    mirror.failed(error.clone());
                    mirror.tell(api.client.timing.now());
                    rest(&api, &mut mirror, &mut backoff, &error).await;
                }
            }
            if tries >= TRIES || version.is_empty() {
                break;
            }
        }
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Connection, "the watch was closed")
}

/// One watch, from its request to its end. `version` is where the next one goes on.
async fn watch<M: ReflectorStore>(
    api: &Api<'_>,
    scope: &Scope,
    pace: Periods,
    relist: Time,
    version: &mut String,
    mirror: &mut M,
    failed: &mut bool,
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
    if std::mem::take(failed) {
        mirror.recovered();
        mirror.tell(api.client.timing.now());
    }
    let silent = api.client.timing.now() + lasts + GRACE;
    loop {
        let due = mirror.due();
        let until = due.unwrap_or(silent).min(silent).min(relist);
        let event = match api.client.timing.timeout_at(until, events.next()).await {
            Some(Ok(Some(event))) => event,
            Some(Err(error)) if error.code() == codes::BAD_ANSWER => return Over::Relist(Some(error)),
            // A connection that broke says nothing of the server: the next request will.
            Some(Ok(None) | Err(_)) => return Over::Ended,
            None => {
                let now = api.client.timing.now();
                mirror.tell(now);
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
        let mut over = take(event, version, mirror);
        // What has come with it is told with it.
        while over.is_none() {
            over = match events.waiting() {
                None => break,
                Some(Ok(event)) => take(event, version, mirror),
                Some(Err(error)) => Some(Over::Relist(Some(error))),
            };
        }
        mirror.tell(api.client.timing.now());
        if let Some(over) = over {
            return over;
        }
    }
}

/// Takes one event; an answer ends the watch.
fn take<M: ReflectorStore>(mut event: Value, version: &mut String, mirror: &mut M) -> Option<Over> {
    let object = event.get_mut("object").map(Value::take).unwrap_or_default();
    let kind = event.get("type").and_then(Value::as_str).unwrap_or_default();
    if kind == "ERROR" {
        let code = object.get("code").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
        // Whatever it is, a new list is what mends it.
        return Some(Over::Relist(Some(error::of_status("watch", code.unwrap_or(500), None, &object))));
    }
    if let Some(newer) = object.pointer("/metadata/resourceVersion").and_then(Value::as_str) {
        newer.clone_into(version);
    }
    match kind {
        "ADDED" | "MODIFIED" => mirror.changed(mirror.read(object)),
        "DELETED" => mirror.deleted(mirror.read(object)),
        // Bookmarks, and what a newer server may add.
        _ => {}
    }
    None
}

/// Waits after an error, and tells in between what is due.
async fn rest<M: ReflectorStore>(api: &Api<'_>, mirror: &mut M, backoff: &mut Backoff, error: &Error) {
    let until = api.client.timing.now() + backoff.after(error, &api.client.timing);
    let waits = async {
        while let Some(due) = mirror.due().filter(|due| *due < until) {
            api.client.timing.sleep_until(due).await;
            mirror.tell(api.client.timing.now());
        }
        api.client.timing.sleep_until(until).await;
    };
    if error::status(error).is_some() {
        return waits.await;
    }
    // It was not reached at all. That it can be reached again is found out without a request.
    tokio::select! {
        () = waits => {}
        () = api.client.reconnect.wait(error::is_gone(error)) => *backoff = Backoff::default(),
    }
}
