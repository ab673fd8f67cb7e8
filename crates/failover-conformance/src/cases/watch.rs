//! Cases about watching endpoints.

use std::sync::Arc;

use failover_core::provider::{Provider, Query, WatchStream};
use tokio::time::Instant;

use crate::subject::{Bench, Done, before, ensure, fail, ids, next, registry, skip, works};

/// More answers than this without a change are a flood.
const CALM: usize = 5;

fn watching<'p>(bench: &Bench<'_>, provider: &'p Arc<dyn Provider>) -> Done<WatchStream<'p>> {
    provider.watch(&Query::service(&bench.service())).map_or_else(|| skip("the provider cannot watch"), Ok)
}

pub(super) async fn first(bench: &Bench<'_>) -> Done {
    let provider = bench.provider().await?;
    drop(watching(bench, &provider)?);
    bench.register(&provider, &bench.plain("a", 1)).await?;
    bench.lists(&provider, "it is listed", |set| ids(set) == ["a"]).await?;
    let watcher = bench.provider().await?;
    let mut stream = watching(bench, &watcher)?;
    bench.watches(&mut stream, "the endpoint that was there before", |set| ids(set) == ["a"]).await
}

pub(super) async fn changes(bench: &Bench<'_>) -> Done {
    let provider = bench.provider().await?;
    let registry = registry(&provider)?;
    let watcher = bench.provider().await?;
    let mut stream = watching(bench, &watcher)?;
    bench.watches(&mut stream, "a first answer, without endpoints", |set| set.entries().is_empty()).await?;
    bench.register(&provider, &bench.plain("a", 1)).await?;
    bench.watches(&mut stream, "the registration of a", |set| ids(set) == ["a"]).await?;
    for last in 2..=5 {
        bench.register(&provider, &bench.plain(&format!("b{last}"), last)).await?;
    }
    let five = ["a", "b2", "b3", "b4", "b5"];
    bench.watches(&mut stream, "four more registrations", |set| ids(set) == five).await?;
    let gone = bench.plain("b3", 3);
    works("deregister", registry.deregister(gone.service(), gone.id()).await)?;
    let left = ["a", "b2", "b4", "b5"];
    bench.watches(&mut stream, "the deregistration of b3", |set| ids(set) == left).await
}

pub(super) async fn calm(bench: &Bench<'_>) -> Done {
    let provider = bench.provider().await?;
    let mut stream = watching(bench, &provider)?;
    let until = Instant::now() + bench.subject.calm() * 2;
    let mut answers = 0;
    while let Some(item) = before(until, next(&mut stream)).await {
        if item.is_none() {
            return fail("the watch goes on", "it ended");
        }
        answers += 1;
        ensure(answers <= CALM, &format!("at most {CALM} answers while nothing changes"), answers)?;
        // Lets other tasks run, even if the stream is always ready.
        tokio::task::yield_now().await;
    }
    Ok(())
}

pub(super) async fn dropped(bench: &Bench<'_>) -> Done {
    let provider = bench.provider().await?;
    registry(&provider)?;
    let watcher = bench.provider().await?;
    let mut stays = watching(bench, &watcher)?;
    let mut goes = watching(bench, &watcher)?;
    for stream in [&mut stays, &mut goes] {
        bench.watches(stream, "a first answer", |_| true).await?;
    }
    drop(goes);
    // Checks only the initial state: a different clause covers watches that never wake.
    drop(stays);
    bench.register(&provider, &bench.plain("a", 1)).await?;
    bench.lists(&provider, "it is listed", |set| ids(set) == ["a"]).await?;
    let mut again = watching(bench, &watcher)?;
    bench.watches(&mut again, "a watch begun after others were dropped", |set| ids(set) == ["a"]).await
}
