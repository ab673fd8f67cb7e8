//! Cases about many endpoints, broken data and answers that are old.

use std::collections::HashSet;

use failover_core::Endpoint;
use failover_core::provider::EndpointSet;
use tokio::time::{Instant, sleep, timeout};

use crate::bench::{Bench, Done, before, ensure, fail, lasts, next, no_hook, not_offered, shown, works};

pub(super) async fn crowd(bench: &Bench<'_>) -> Done {
    let count = bench.subject.crowd();
    let mut endpoints = (0..count).map(|number| member(bench, number)).collect::<Vec<_>>();
    bench.random.shuffle(&mut endpoints);
    let late = endpoints.pop().expect("a crowd is at least one");
    let addresses: HashSet<_> = endpoints.iter().map(Endpoint::address).collect();
    let is_whole = |set: &EndpointSet| {
        let seen: HashSet<_> = set.entries().iter().map(|entry| entry.endpoint().address()).collect();
        set.entries().len() == addresses.len() && seen == addresses
    };
    let writer = bench.provider().await?;
    bench.write_all(&writer, &endpoints).await?;
    let reader = bench.provider().await?;
    bench.lists(&reader, &format!("all {} endpoints", addresses.len()), is_whole).await?;
    let limit = bench.subject.patience();
    let Ok(listed) = timeout(limit, reader.list(&bench.query())).await else {
        return fail(format!("a list of {count} endpoints ends within {limit:?}"), "it does not");
    };
    let listed = works("list", listed)?;
    ensure(is_whole(&listed), &format!("all {} endpoints again", addresses.len()), shown(&listed))?;
    let query = bench.query();
    let Some(mut stream) = reader.watch(&query) else { return Ok(()) };
    bench.watches(&mut stream, &format!("all {} endpoints", addresses.len()), is_whole).await?;
    bench.write(&writer, &late).await?;
    let has_all = |set: &EndpointSet| set.entries().len() == count;
    bench.watches(&mut stream, &format!("the change that makes {count}"), has_all).await
}

/// Returns an endpoint of the crowd: `10.2.0.1` and on.
fn member(bench: &Bench<'_>, number: usize) -> Endpoint {
    let (high, middle, low) = (2 + number / 62_500, number / 250 % 250, 1 + number % 250);
    let address = format!("10.{high}.{middle}.{low}");
    let builder = Endpoint::builder(format!("crowd-{number}"), bench.service().as_str(), address, 8080);
    builder.protocol("http").build().expect("valid")
}

pub(super) async fn hostile(bench: &Bench<'_>) -> Done {
    let service = bench.service();
    let writer = bench.provider().await?;
    for last in [1, 2] {
        bench.write(&writer, &bench.plain(&format!("e{last}"), last)).await?;
    }
    let reader = bench.provider().await?;
    let clean = bench.lists(&reader, "the good endpoints", |set| lasts(set) == [1, 2]).await?;
    let query = bench.query();
    let mut stream = reader.watch(&query);
    if let Some(stream) = &mut stream {
        bench.watches(stream, "the good endpoints", |set| good(set) == [1, 2]).await?;
    }
    if !bench.subject.hostile(service.as_str(), true).await {
        if bench.is_in_process().await? {
            return not_offered("the backend is this process: it holds no broken entries");
        }
        return no_hook("hostile", "let it write broken entries into the backend, and remove them");
    }
    sleep(bench.subject.calm()).await;
    let beside = "the good endpoints, beside broken entries";
    // What is cached hides what is broken.
    let fresh = bench.provider().await?;
    let mut told = false;
    for provider in [&reader, &fresh] {
        let set = bench.lists(provider, beside, |set| good(set) == [1, 2]).await?;
        told |= set.rejected_count() > 0 || set.entries().len() > 2;
        for entry in clean.entries() {
            let unchanged = set.entries().iter().any(|other| other.endpoint() == entry.endpoint());
            ensure(unchanged, &format!("{} as it was", entry.endpoint()), shown(&set))?;
        }
    }
    if let Some(mut stream) = fresh.watch(&query) {
        bench.watches(&mut stream, beside, |set| good(set) == [1, 2]).await?;
    }
    if !told {
        return fail(
            "a broken entry is counted among `EndpointSet::rejected`, or repaired and listed",
            "no trace of one: either the provider drops them silently, or the hook `hostile` has written none",
        );
    }
    bench.write(&writer, &bench.plain("e3", 3)).await?;
    if let Some(stream) = &mut stream {
        let expected = "a watch sees the next change, beside broken entries";
        bench.watches(stream, expected, |set| good(set) == [1, 2, 3]).await?;
    }
    bench.lists(&reader, "one more good endpoint", |set| good(set) == [1, 2, 3]).await.map(drop)
}

/// Returns the last numbers of the good endpoints: all that the suite writes are in one network.
fn good(set: &EndpointSet) -> Vec<u8> {
    let is_good = |address: &str| address.starts_with("10.1.2.");
    let good = set.entries().iter().filter(|entry| is_good(entry.endpoint().address())).cloned();
    lasts(&EndpointSet::new(good))
}

/// Writes behind the back of a provider that has answered before, and is watching.
pub(super) async fn fresh(bench: &Bench<'_>) -> Done {
    let writer = bench.provider().await?;
    let reader = bench.provider().await?;
    let query = bench.query();
    works("list", reader.list(&query).await)?;
    let mut stream = reader.watch(&query);
    if let Some(stream) = &mut stream {
        let _ = before(Instant::now() + bench.subject.calm() / 4, next(stream)).await;
    }
    let mut newest: Vec<u8> = Vec::new();
    for last in 1..=4 {
        bench.write(&writer, &bench.plain(&format!("e{last}"), last)).await?;
        let until = Instant::now() + bench.subject.patience();
        while !newest.contains(&last) {
            let set = works("list", reader.list(&query).await)?;
            newest = not_older(&newest, &set)?;
            if !newest.contains(&last) && Instant::now() >= until {
                let expected =
                    format!("list sees what another provider wrote within {:?}", bench.subject.patience());
                return fail(expected, shown(&set));
            }
            sleep(bench.subject.calm() / 20).await;
        }
    }
    for _ in 0..5 {
        newest = not_older(&newest, &works("list", reader.list(&query).await)?)?;
    }
    Ok(())
}

/// Returns what the answer lists, unless it lacks what an answer before has shown.
fn not_older(newest: &[u8], set: &EndpointSet) -> Done<Vec<u8>> {
    let seen = lasts(set);
    let has_all = newest.iter().all(|last| seen.contains(last));
    ensure(has_all, &format!("no answer older than one that showed {newest:?}"), shown(set))?;
    Ok(seen)
}
