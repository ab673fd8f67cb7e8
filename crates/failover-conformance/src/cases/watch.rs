//! Cases about watching endpoints.

use std::sync::Arc;

use failover_core::provider::{Provider, Query, WatchStream};
use tokio::time::Instant;

use crate::bench::{Bench, Done, before, ensure, fail, lasts, next, not_offered};

/// More answers than this without a change are a flood.
const CALM: usize = 5;

fn watching<'p>(bench: &Bench<'_>, provider: &'p Arc<dyn Provider>) -> Done<WatchStream<'p>> {
    provider
        .watch(&Query::service(&bench.service()))
        .map_or_else(|| not_offered("the provider cannot watch"), Ok)
}

pub(super) async fn first(bench: &Bench<'_>) -> Done {
    let provider = bench.provider().await?;
    drop(watching(bench, &provider)?);
    bench.write(&provider, &bench.plain("a", 1)).await?;
    bench.lists(&provider, "it is listed", |set| lasts(set) == [1]).await?;
    let watcher = bench.provider().await?;
    let mut stream = watching(bench, &watcher)?;
    bench.watches(&mut stream, "the endpoint that was there before", |set| lasts(set) == [1]).await
}

pub(super) async fn changes(bench: &Bench<'_>) -> Done {
    let provider = bench.provider().await?;
    let watcher = bench.provider().await?;
    let mut stream = watching(bench, &watcher)?;
    bench.watches(&mut stream, "a first answer, without endpoints", |set| set.entries().is_empty()).await?;
    bench.write(&provider, &bench.plain("a", 1)).await?;
    bench.watches(&mut stream, "the new endpoint", |set| lasts(set) == [1]).await?;
    for last in 2..=5 {
        bench.write(&provider, &bench.plain(&format!("b{last}"), last)).await?;
    }
    bench.watches(&mut stream, "four more endpoints", |set| lasts(set) == [1, 2, 3, 4, 5]).await?;
    bench.remove(&provider, &bench.plain("b3", 3)).await?;
    bench.watches(&mut stream, "one endpoint less", |set| lasts(set) == [1, 2, 4, 5]).await
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
    let watcher = bench.provider().await?;
    let mut stays = watching(bench, &watcher)?;
    let mut goes = watching(bench, &watcher)?;
    for stream in [&mut stays, &mut goes] {
        bench.watches(stream, "a first answer", |_| true).await?;
    }
    drop(goes);
    bench.write(&provider, &bench.plain("a", 1)).await?;
    bench.lists(&provider, "it is listed", |set| lasts(set) == [1]).await?;
    bench.watches(&mut stays, "a change, though another watch was dropped", |set| lasts(set) == [1]).await?;
    drop(stays);
    let mut again = watching(bench, &watcher)?;
    bench.watches(&mut again, "a watch begun after others were dropped", |set| lasts(set) == [1]).await
}
