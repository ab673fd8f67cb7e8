//! Following objects: a list, a watch from it on, and again, through everything that a cluster does to a connection.

use std::time::Duration;

use failover_core::{Error, ErrorKind, RetryAdvice};
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout_at};

use crate::api::{Api, Scope};
use crate::clock;
use crate::error;

/// Before the first repetition, doubling by half to the last.
const FIRST: Duration = Duration::from_millis(250);
const LAST: Duration = Duration::from_secs(30);
/// After a refusal: rights come back when a person gives them.
const REFUSED: Duration = Duration::from_secs(30);
/// Credentials that were refused are read again at each try.
const UNAUTHENTICATED: Duration = Duration::from_secs(60);
/// A watch that has lived for so long was a good one.
const STEADY: Duration = Duration::from_secs(5);
/// How much longer than asked for a watch may last before its connection counts as dead.
const GRACE: Duration = Duration::from_secs(5);
/// A watch that cannot be opened so often in a row is given up for a new list.
const TRIES: u32 = 3;

/// What keeps a copy of the objects.
pub(crate) trait Mirror: Send {
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
    fn tell(&mut self, now: Instant);

    /// When there will be something to tell although nothing happens.
    fn due(&self) -> Option<Instant>;
}

/// How long a watch lasts, and after how long everything is listed again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) watch: Duration,
    pub(crate) relist: Duration,
}

/// Why a watch is over.
enum Over {
    /// It ended in order, after its time or by the server's wish.
    Ended,
    /// Everything has to be listed again, for this reason; `None` when it is merely time for it.
    Relist(Option<Error>),
    Failed(Error),
}

/// Follows the objects of a scope until it is dropped.
pub(crate) async fn follow<M: Mirror>(api: Api<'_>, scope: Scope, pace: Pace, mut mirror: M) {
    let mut failures: u32 = 0;
    let mut failed = false;
    loop {
        let (items, mut version) = match api.list(&scope, |object| mirror.read(object)).await {
            Ok(listed) => listed,
            Err(error) => {
                failed = true;
                mirror.failed(error.clone());
                mirror.tell(clock::now());
                rest(&mut mirror, delay(&mut failures, &error)).await;
                continue;
            }
        };
        if std::mem::take(&mut failed) {
            mirror.recovered();
        }
        mirror.listed(items, &version);
        mirror.tell(clock::now());
        let relist = clock::now() + clock::jittered(pace.relist, 0.2);
        let mut tries = 0;
        loop {
            let began = clock::now();
            let over = watch(&api, &scope, pace, relist, &mut version, &mut mirror, &mut failed).await;
            if clock::now().saturating_duration_since(began) >= STEADY {
                // Not after a good list: a server that lists and always refuses to watch would be asked for ever.
                (failures, tries) = (0, 0);
            }
            let error = match over {
                Over::Relist(None) => break,
                Over::Ended => None,
                Over::Relist(Some(error)) => {
                    // The list tells whether all is well; until then nothing is known to be wrong.
                    rest(&mut mirror, delay(&mut failures, &error)).await;
                    break;
                }
                Over::Failed(error) => Some(error),
            };
            let pause = match &error {
                None if clock::now().saturating_duration_since(began) >= STEADY => Duration::ZERO,
                None => delay(&mut failures, &closed()),
                Some(error) => {
                    tries += 1;
                    failed = true;
                    mirror.failed(error.clone());
                    mirror.tell(clock::now());
                    delay(&mut failures, error)
                }
            };
            rest(&mut mirror, pause).await;
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
async fn watch<M: Mirror>(
    api: &Api<'_>,
    scope: &Scope,
    pace: Pace,
    relist: Instant,
    version: &mut String,
    mirror: &mut M,
    failed: &mut bool,
) -> Over {
    if clock::now() >= relist {
        return Over::Relist(None);
    }
    let lasts = clock::jittered(pace.watch, 0.1);
    let mut events = match api.watch(scope, version, lasts.as_secs().max(1)).await {
        Ok(events) => events,
        Err(error) if error::wants_list(&error) => return Over::Relist(Some(error)),
        Err(error) => return Over::Failed(error),
    };
    if std::mem::take(failed) {
        mirror.recovered();
        mirror.tell(clock::now());
    }
    let silent = clock::now() + lasts + GRACE;
    loop {
        let due = mirror.due();
        let until = due.unwrap_or(silent).min(silent).min(relist);
        let event = match timeout_at(until, events.next()).await {
            Ok(Ok(Some(event))) => event,
            Ok(Err(error)) if error.code() == "BAD_ANSWER" => return Over::Relist(Some(error)),
            // A connection that broke says nothing of the server: the next request will.
            Ok(Ok(None) | Err(_)) => return Over::Ended,
            Err(_) => {
                let now = clock::now();
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
        mirror.tell(clock::now());
        if let Some(over) = over {
            return over;
        }
    }
}

/// Takes one event; an answer ends the watch.
fn take<M: Mirror>(mut event: Value, version: &mut String, mirror: &mut M) -> Option<Over> {
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

/// Waits, and tells in between what is due.
async fn rest<M: Mirror>(mirror: &mut M, pause: Duration) {
    let until = clock::now() + pause;
    while let Some(due) = mirror.due().filter(|due| *due < until) {
        tokio::time::sleep_until(due).await;
        mirror.tell(clock::now());
    }
    sleep(until.saturating_duration_since(clock::now())).await;
}

/// How long to wait after an error, and counts it.
fn delay(failures: &mut u32, error: &Error) -> Duration {
    *failures = failures.saturating_add(1);
    let ladder = FIRST.mul_f64(1.5_f64.powf(f64::from((*failures - 1).min(40)))).min(LAST);
    let full = match (error::status(error), error.retry()) {
        (Some(401), _) => UNAUTHENTICATED,
        (Some(403), _) => REFUSED,
        (_, RetryAdvice::After(asked)) => return clock::jittered(asked.max(ladder), 0.1).max(asked),
        _ if error.code() == "UNAUTHENTICATED" => UNAUTHENTICATED,
        _ => ladder,
    };
    full.mul_f64(0.5 + 0.5 * clock::unit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unreachable_server() -> Error {
        Error::new(ErrorKind::Connection, "refused")
    }

    /// When a client asks during an outage.
    fn tries(outage: Duration) -> Vec<Duration> {
        let (mut failures, mut now, mut all) = (0, Duration::ZERO, Vec::new());
        while now <= outage {
            all.push(now);
            now += delay(&mut failures, &unreachable_server());
        }
        all.push(now);
        all
    }

    /// How long after the end of an outage a client asks again.
    fn back_after(outage: Duration) -> Duration {
        tries(outage).pop().expect("it comes back").saturating_sub(outage)
    }

    /// R1: at most 40 requests in an outage of ten minutes.
    #[test]
    fn an_outage_of_ten_minutes_costs_few_requests() {
        for _ in 0..1000 {
            let count = tries(Duration::from_secs(600)).len() - 1;
            assert!((20..=40).contains(&count), "{count}");
        }
    }

    /// R2: of a thousand clients that wait for one server, no tenth of a second has more than 5 %.
    #[test]
    fn clients_do_not_come_back_together() {
        for outage in [10, 60, 600] {
            let outage = Duration::from_secs(outage);
            let mut slots = std::collections::HashMap::<u128, u32>::new();
            for _ in 0..1000 {
                let back = back_after(outage);
                *slots.entry(back.as_millis() / 100).or_default() += 1;
            }
            let most = slots.values().max().copied().unwrap_or_default();
            assert!(most <= 50, "{most} of 1000 in one slot after {outage:?}");
        }
    }

    #[test]
    fn a_server_that_was_restarted_is_found_again_within_five_seconds() {
        for _ in 0..1000 {
            for outage in [1, 3, 4] {
                let outage = Duration::from_secs(outage);
                let back = back_after(outage);
                assert!(back < Duration::from_secs(5), "{back:?} after {outage:?}");
            }
        }
    }

    #[test]
    fn what_the_server_asks_for_is_waited_and_a_refusal_is_not_asked_hotly() {
        let asked = unreachable_server().with_retry(RetryAdvice::After(Duration::from_secs(7)));
        let refused = |code: u16| error::refused("list", code, None, b"");
        for _ in 0..1000 {
            assert!(delay(&mut 0, &asked) >= Duration::from_secs(7));
            let pause = delay(&mut 0, &refused(403));
            assert!((15..=30).contains(&pause.as_secs()), "{pause:?}");
            let pause = delay(&mut 0, &refused(401));
            assert!((30..=60).contains(&pause.as_secs()), "{pause:?}");
        }
        // Numbers stay in their range however long it lasts.
        assert!(delay(&mut (u32::MAX - 1), &unreachable_server()) <= LAST);
        assert!(delay(&mut u32::MAX.clone(), &unreachable_server()) <= LAST);
    }
}
