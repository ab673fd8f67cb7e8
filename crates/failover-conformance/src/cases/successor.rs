//! What the owner before leaves alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use failover_core::Endpoint;
use failover_core::provider::{EndpointSet, Provider, RegistrationStatus};
use tokio::time::{Instant, sleep, timeout};

use super::Running;
use super::outage::poll_once;
use crate::bench::{Bench, Done, ensure, fail, find, inconclusive, lasts, next, registry, shown, works};
use crate::together::together;

/// Another process, such as the newer release of a program, registers the ids of two owners. One closes
/// before it can notice, the other keeps renewing until it has.
pub(super) async fn untouched(bench: &Bench<'_>) -> Done {
    let hasty = bench.provider().await?;
    let steady = bench.provider().await?;
    let successor = bench.provider().await?;
    registry(&hasty)?;
    let make = |id: &str, last: u8| -> Endpoint {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + u64::from(last));
        bench.endpoint(id, last).created_at(at).build().expect("valid")
    };
    let old = make("steady", 2);
    bench.register(&hasty, &make("hasty", 1)).await?;
    bench.register(&steady, &old).await?;
    bench.lists(&successor, "both endpoints are listed", |set| lasts(set) == [1, 2]).await?;
    for (id, last) in [("hasty", 11), ("steady", 12)] {
        bench.register(&successor, &make(id, last)).await?;
    }
    let Ok(taken) = bench.lists(&successor, "both", |set| lasts(set) == [11, 12]).await else {
        return inconclusive("registering again does not replace what another provider has registered");
    };
    observed(bench, &successor, ends(bench, "closing the owner before", hasty)).await?;
    notices(bench, &steady, &old).await?;
    // The owner before may be overwritten by renewals of the successor, so one look is not enough.
    let until = Instant::now() + bench.subject.renewal();
    while Instant::now() < until {
        is_untouched(&works("list", successor.list(&bench.query()).await)?)?;
        sleep(bench.subject.calm() / 10).await;
    }
    observed(bench, &successor, ends(bench, "closing the owner before", steady)).await?;
    let reader = bench.provider().await?;
    let left = works("list", reader.list(&bench.query()).await)?;
    is_untouched(&left)?;
    for id in ["hasty", "steady"] {
        let (Some(before), Some(after)) = (find(&taken, id), find(&left, id)) else { continue };
        ensure(before.endpoint() == after.endpoint(), &format!("{before:?}, as it was registered"), after)?;
        ensure(before.lifecycle() == after.lifecycle(), "its lifecycle is as it was", after)?;
    }
    Ok(())
}

/// Looks all the time while an owner ends, and a moment longer: a successor that looks after its
/// endpoints soon restores what was taken from it.
async fn observed(
    bench: &Bench<'_>,
    successor: &Arc<dyn Provider>,
    ending: impl Future<Output = Done> + Send,
) -> Done {
    let query = bench.query();
    let mut stream = successor.watch(&query);
    if let Some(stream) = &mut stream {
        if bench.watches(stream, "both", |set| lasts(set) == [11, 12]).await.is_err() {
            return inconclusive("a watch does not see what is registered");
        }
    }
    let ended = AtomicBool::new(false);
    let ends = async {
        let done = ending.await;
        ended.store(true, Ordering::Release);
        done
    };
    let looks = async {
        let mut until = None;
        while until.is_none_or(|until| Instant::now() < until) {
            is_untouched(&works("list", successor.list(&query).await)?)?;
            if let Some(Some(item)) = stream.as_mut().and_then(|stream| poll_once(next(stream))) {
                item.as_ref().map_or(Ok(()), is_untouched)?;
            }
            if ended.load(Ordering::Acquire) {
                until = until.or_else(|| Some(Instant::now() + bench.subject.calm()));
            }
            sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    };
    let both: [Running<'_>; 2] = [Box::pin(ends), Box::pin(looks)];
    together(2, both.into_iter()).await.map(drop)
}

fn is_untouched(set: &EndpointSet) -> Done {
    let expected = "both endpoints of the successor, untouched by the owners before";
    ensure(lasts(set) == [11, 12], expected, shown(set))
}

/// Closes a provider as its process ends, and drops it.
async fn ends(bench: &Bench<'_>, what: &str, provider: Arc<dyn Provider>) -> Done {
    match timeout(bench.subject.patience(), provider.close()).await {
        Ok(closed) => works(what, closed),
        Err(_) => inconclusive("closing does not end"),
    }
}

/// The manager asks this before it deregisters, and leaves alone what is taken over.
async fn notices(bench: &Bench<'_>, owner: &Arc<dyn Provider>, old: &Endpoint) -> Done {
    let until = Instant::now() + bench.subject.patience() + bench.subject.renewal();
    loop {
        let status = registry(owner)?.registration(old).await;
        if matches!(status, Ok(RegistrationStatus::TakenOver { .. })) {
            return Ok(());
        }
        if Instant::now() >= until {
            return fail(
                "`registration` tells the owner before that its endpoint is TakenOver",
                format!("{status:?}"),
            );
        }
        sleep(bench.subject.calm() / 4).await;
    }
}
