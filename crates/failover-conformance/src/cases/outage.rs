//! A backend that goes away and comes back.

use std::sync::Arc;

use failover_core::provider::Provider;
use tokio::time::{Instant, sleep};

use crate::subject::{Bench, Done, before, ensure, fail, find, ids, next, shown, skip};

async fn begins(bench: &Bench<'_>) -> Done {
    if bench.subject.outage(true).await { Ok(()) } else { skip("the subject has no hook for an outage") }
}

async fn prepared(bench: &Bench<'_>) -> Done<Arc<dyn Provider>> {
    let provider = bench.provider().await?;
    bench.register(&provider, &bench.plain("a", 1)).await?;
    bench.lists(&provider, "it is listed", |set| ids(set) == ["a"]).await?;
    Ok(provider)
}

pub(super) async fn error(bench: &Bench<'_>) -> Done {
    let provider = prepared(bench).await?;
    let service = bench.service();
    let mut stream = provider.watch(&service);
    if let Some(stream) = &mut stream {
        bench.watches(stream, "the endpoint", |set| ids(set) == ["a"]).await?;
    }
    begins(bench).await?;
    let during = async {
        let listed = provider.list(&bench.query()).await;
        ensure(listed.is_err(), "list is an error during an outage", listed.as_ref().map(shown))?;
        let Some(stream) = &mut stream else { return Ok(()) };
        let until = Instant::now() + bench.subject.calm();
        while let Some(Some(item)) = before(until, next(stream)).await {
            if let Ok(set) = item {
                ensure(
                    find(&set, "a").is_some(),
                    "a watch does not say that the endpoint is gone",
                    shown(&set),
                )?;
            }
            tokio::task::yield_now().await;
        }
        Ok(())
    };
    let found = during.await;
    bench.subject.outage(false).await;
    found
}

pub(super) async fn watch(bench: &Bench<'_>) -> Done {
    let provider = prepared(bench).await?;
    let service = bench.service();
    let Some(mut stream) = provider.watch(&service) else { return skip("the provider cannot watch") };
    bench.watches(&mut stream, "the endpoint", |set| ids(set) == ["a"]).await?;
    begins(bench).await?;
    let until = Instant::now() + bench.subject.calm();
    let mut ended = false;
    while let Some(item) = before(until, next(&mut stream)).await {
        if item.is_none() {
            ended = true;
            break;
        }
        tokio::task::yield_now().await;
    }
    bench.subject.outage(false).await;
    if ended {
        return fail("the stream goes on after an error", "it ended");
    }
    sleep(bench.subject.calm() / 4).await;
    let other = bench.provider().await?;
    bench.register(&other, &bench.plain("b", 2)).await?;
    bench.watches(&mut stream, "a change after the outage", |set| ids(set) == ["a", "b"]).await
}
