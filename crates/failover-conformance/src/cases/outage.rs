//! Cases about outages of the backend.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use failover_core::provider::{Provider, Query};
use failover_core::{ErrorKind, RetryAdvice, codes};
use tokio::time::{Instant, sleep};

use crate::bench::{
    Bench, Done, before, ensure, fail, inconclusive, lasts, next, no_hook, not_offered, shown, works,
};

pub(super) async fn begins(bench: &Bench<'_>) -> Done {
    if bench.subject.outage(true).await {
        return Ok(());
    }
    if bench.is_in_process().await? {
        return not_offered("the backend is this process: it cannot be away");
    }
    no_hook("outage", "let it stop and start the backend")
}

async fn prepared(bench: &Bench<'_>) -> Done<Arc<dyn Provider>> {
    let provider = bench.provider().await?;
    bench.write(&provider, &bench.plain("a", 1)).await?;
    bench.lists(&provider, "it is listed", |set| lasts(set) == [1]).await?;
    Ok(provider)
}

pub(super) async fn error(bench: &Bench<'_>) -> Done {
    let provider = prepared(bench).await?;
    let service = bench.service();
    let mut stream = provider.watch(&Query::service(&service));
    if let Some(stream) = &mut stream {
        bench.watches(stream, "the endpoint", |set| lasts(set) == [1]).await?;
    }
    begins(bench).await?;
    let during = async {
        let listed = provider.list(&bench.query()).await;
        ensure(
            listed.is_err(),
            "list is an error during an outage, if the hook `outage` takes the backend away",
            listed.as_ref().map(shown),
        )?;
        let Some(stream) = &mut stream else { return Ok(()) };
        let until = Instant::now() + bench.subject.calm();
        while let Some(Some(item)) = before(until, next(stream)).await {
            if let Ok(set) = item {
                ensure(
                    lasts(&set).contains(&1),
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
    let Some(mut stream) = provider.watch(&Query::service(&service)) else {
        return not_offered("the provider cannot watch");
    };
    bench.watches(&mut stream, "the endpoint", |set| lasts(set) == [1]).await?;
    begins(bench).await?;
    let until = Instant::now() + bench.subject.patience();
    let told = loop {
        match before(until, next(&mut stream)).await {
            None => {
                break fail(
                    "a watch yields the error as an item",
                    "it yields none during an outage, if the hook `outage` takes the backend away",
                );
            }
            Some(None) => break fail("the stream goes on after an error", "it ended"),
            Some(Some(Err(_))) => break Ok(()),
            Some(Some(Ok(_))) => tokio::task::yield_now().await,
        }
    };
    // It may end only now.
    let until = Instant::now() + bench.subject.calm();
    let mut ended = false;
    while told.is_ok() && !ended {
        match before(until, next(&mut stream)).await {
            None => break,
            Some(item) => ended = item.is_none(),
        }
        tokio::task::yield_now().await;
    }
    bench.subject.outage(false).await;
    told?;
    if ended {
        return fail("the stream goes on after an error", "it ended");
    }
    sleep(bench.subject.calm() / 4).await;
    let other = bench.provider().await?;
    bench.write(&other, &bench.plain("b", 2)).await?;
    bench.watches(&mut stream, "a change after the outage", |set| lasts(set) == [1, 2]).await
}

/// Checks that a provider needs no successful `connect`: a program may start before its registry.
pub(super) async fn unconnected(bench: &Bench<'_>) -> Done {
    let Some(early) = works("making a provider", bench.subject.unconnected().await)? else {
        return no_hook("unconnected", "let it return a provider on which `connect` was not called");
    };
    let failed = works("making a provider", bench.subject.unconnected().await)?;
    let _writer = prepared(bench).await?;
    begins(bench).await?;
    let mut connecting = Some(Ok(()));
    if let Some(failed) = &failed {
        connecting = before(Instant::now() + bench.subject.patience(), failed.connect()).await;
    }
    bench.subject.outage(false).await;
    ensure(connecting.is_some(), "connect ends during an outage", "it waits")?;
    for (provider, what) in [(Some(early), "without `connect`"), (failed, "after a `connect` that failed")] {
        let Some(provider) = provider else { continue };
        bench.lists(&provider, &format!("list works {what}"), |set| lasts(set) == [1]).await?;
        if let Some(mut stream) = provider.watch(&bench.query()) {
            bench.watches(&mut stream, &format!("a watch works {what}"), |set| lasts(set) == [1]).await?;
        }
    }
    Ok(())
}

/// Accepts several codes, because the error depends on how the backend fails: the connection is
/// refused, breaks, or another server answers.
pub(super) async fn codes(bench: &Bench<'_>) -> Done {
    const CODES: &[&str] = &[
        codes::CONNECTION_ERROR,
        codes::CONNECTION_LOST,
        codes::SERVER_ERROR,
        codes::TIMEOUT,
        codes::TLS_ERROR,
        codes::BAD_ANSWER,
    ];
    let provider = prepared(bench).await?;
    begins(bench).await?;
    let listed = provider.list(&bench.query()).await;
    bench.subject.outage(false).await;
    // A different clause covers answers without an error.
    let Err(error) = listed else { return Ok(()) };
    let kind = matches!(error.kind(), ErrorKind::Connection | ErrorKind::Timeout);
    let right = kind && CODES.contains(&error.code()) && error.retry() != RetryAdvice::Never;
    ensure(right, "a Connection or Timeout error of the table that advises to try again", error)
}

/// Checks that an outage does not hide a change from a stream that is not polled, while another
/// stream has seen the change.
pub(super) async fn late_set(bench: &Bench<'_>) -> Done {
    let provider = prepared(bench).await?;
    let service = bench.service();
    let (Some(mut polled), Some(mut late)) =
        (provider.watch(&Query::service(&service)), provider.watch(&Query::service(&service)))
    else {
        return not_offered("the provider cannot watch");
    };
    for stream in [&mut polled, &mut late] {
        bench.watches(stream, "the endpoint", |set| lasts(set) == [1]).await?;
    }
    let other = bench.provider().await?;
    change(bench, &other, &mut polled, &[1, 2]).await?;
    match poll_once(next(&mut late)) {
        Some(Some(Ok(set))) if lasts(&set) == [1, 2] => {}
        _ => return not_offered(LAZY),
    }
    change(bench, &other, &mut polled, &[1, 2, 3]).await?;
    begins(bench).await?;
    let until = Instant::now() + bench.subject.calm();
    while let Some(Some(item)) = before(until, next(&mut polled)).await {
        if item.is_err() {
            break;
        }
        tokio::task::yield_now().await;
    }
    let first = before(Instant::now() + bench.subject.calm(), next(&mut late)).await;
    bench.subject.outage(false).await;
    let right = matches!(&first, Some(Some(Ok(set))) if lasts(set) == [1, 2, 3]);
    let seen = match first {
        Some(Some(Ok(set))) => shown(&set),
        Some(Some(Err(error))) => format!("error: {error}"),
        Some(None) => "the end of the stream".to_owned(),
        None => "nothing".to_owned(),
    };
    ensure(right, "the newest set first, and then the error", seen)
}

/// Why a clause does not apply to a stream: it cannot lose what it has not received.
pub(super) const LAZY: &str = "a watch receives changes only while it is polled";

/// Writes one more endpoint and waits until a stream has seen it.
async fn change(
    bench: &Bench<'_>,
    other: &Arc<dyn Provider>,
    polled: &mut failover_core::provider::WatchStream<'_>,
    all: &[u8],
) -> Done {
    let last = all.len() as u8;
    bench.write(other, &bench.plain(&format!("e{last}"), last)).await?;
    if bench.watches(polled, "the change", |set| lasts(set) == all).await.is_err() {
        return inconclusive("a watch does not see every change");
    }
    // Streams with separate connections receive it slightly later.
    sleep(bench.subject.calm() / 2).await;
    Ok(())
}

/// Polls a future once and returns its output if it is ready.
pub(super) fn poll_once<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}
