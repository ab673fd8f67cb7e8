//! Cases about writing endpoints.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use failover_core::{Endpoint, ErrorKind, Health, HealthCheck, Lifecycle};
use tokio::time::sleep;

use super::kind;
use crate::bench::{Bench, Done, ensure, find, ids, registry, shown, works};
use crate::together::together;

pub(super) async fn round_trip(bench: &Bench<'_>) -> Done {
    let provider = bench.provider().await?;
    registry(&provider)?;
    let check = HealthCheck::builder()
        .path("/health?deep=1")
        .interval(Duration::from_secs(7))
        .timeout(Duration::from_millis(1500))
        .method("HEAD")
        .healthy_threshold(4)
        .unhealthy_threshold(5)
        .build()
        .expect("valid");
    // Every registry must preserve milliseconds.
    let at = |millis| SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
    let whole = bench
        .endpoint("whole", 1)
        .protocol("https")
        .server_name("users.example")
        .health_check(check)
        .metadata("version", "1.2.3")
        .metadata("note", "two words, \"quotes\", a=b; ümlaut")
        .tag("api")
        .tag("blue-green")
        .weight(7)
        .priority(2)
        .region("eu")
        .zone("eu-1a")
        .created_at(at(1_700_000_000_123))
        .updated_at(at(1_700_000_001_456))
        .build()
        .expect("valid");
    let bare = bench.plain("bare", 2);
    for endpoint in [&whole, &bare] {
        bench.register(&provider, endpoint).await?;
    }
    let reader = bench.provider().await?;
    let set = bench.lists(&reader, "both endpoints are listed", |set| ids(set) == ["bare", "whole"]).await?;
    for written in [&whole, &bare] {
        let read = find(&set, written.id().as_str()).expect("it is listed").endpoint();
        differs(written, read)?;
    }
    Ok(())
}

/// Compares field by field, so that the report names the field that differs.
fn differs(written: &Endpoint, read: &Endpoint) -> Done {
    let written = fields(written);
    let read = fields(read);
    for (field, value) in &written {
        let back = read.get(field).cloned().unwrap_or_default();
        // A registry may set times that the endpoint leaves unset.
        let free = field.ends_with("_at") && value.is_null();
        ensure(free || back == *value, &format!("{field} is {value}"), &back)?;
    }
    Ok(())
}

fn fields(endpoint: &Endpoint) -> BTreeMap<String, serde_json::Value> {
    let json = serde_json::to_value(endpoint).unwrap_or_default();
    let all = [
        "health_check",
        "metadata",
        "tags",
        "weight",
        "priority",
        "region",
        "zone",
        "server_name",
        "created_at",
    ];
    let mut fields: BTreeMap<_, _> =
        all.into_iter().map(|name| (name.to_owned(), serde_json::Value::Null)).collect();
    fields.extend(json.as_object().into_iter().flatten().map(|(name, value)| (name.clone(), value.clone())));
    fields
}

pub(super) async fn upsert(bench: &Bench<'_>) -> Done {
    let provider = bench.provider().await?;
    bench.register(&provider, &bench.plain("a", 1)).await?;
    bench.register(&provider, &bench.plain("a", 2)).await?;
    let newest = |set: &failover_core::provider::EndpointSet| {
        ids(set) == ["a"] && find(set, "a").is_some_and(|entry| entry.endpoint().address() == "10.1.2.2")
    };
    bench.lists(&provider, "one endpoint, at the newer address", newest).await.map(drop)
}

pub(super) async fn update(bench: &Bench<'_>) -> Done {
    let provider = bench.provider().await?;
    bench.register(&provider, &bench.plain("a", 1)).await?;
    let heavier = bench.endpoint("a", 1).weight(9).build().expect("valid");
    works("update", registry(&provider)?.update(&heavier).await)?;
    let is_heavier = |set: &failover_core::provider::EndpointSet| {
        find(set, "a").is_some_and(|entry| entry.endpoint().weight() == 9)
    };
    bench.lists(&provider, "the weight that was written last, 9", is_heavier).await.map(drop)
}

pub(super) async fn update_of_nothing(bench: &Bench<'_>) -> Done {
    let provider = bench.provider().await?;
    let registry = registry(&provider)?;
    let updated = registry.update(&bench.plain("missing", 1)).await;
    ensure(kind(&updated) == Some(ErrorKind::NotFound), "an error of kind NotFound", &updated)?;
    let set = works("list", provider.list(&bench.query()).await)?;
    ensure(set.entries().is_empty(), "nothing was written", shown(&set))
}

pub(super) async fn deregister(bench: &Bench<'_>) -> Done {
    let provider = bench.provider().await?;
    for (id, last) in [("stays", 1), ("goes", 2)] {
        bench.register(&provider, &bench.plain(id, last)).await?;
    }
    let goes = bench.plain("goes", 2);
    let was = works("deregister", registry(&provider)?.deregister(goes.service(), goes.id()).await)?;
    ensure(was, "true, because it was there", was)?;
    bench.lists(&provider, "the other one alone", |set| ids(set) == ["stays"]).await?;
    sleep(bench.subject.calm()).await;
    let set = works("list", provider.list(&bench.query()).await)?;
    ensure(ids(&set) == ["stays"], "it stays gone", shown(&set))
}

pub(super) async fn deregister_nothing(bench: &Bench<'_>) -> Done {
    let provider = bench.provider().await?;
    let registry = registry(&provider)?;
    let missing = bench.plain("missing", 1);
    let was =
        works("deregistering what is not there", registry.deregister(missing.service(), missing.id()).await)?;
    ensure(!was, "false, because it was not there", was)
}

pub(super) async fn get(bench: &Bench<'_>) -> Done {
    let provider = bench.provider().await?;
    bench.register(&provider, &bench.plain("a", 1)).await?;
    let registry = registry(&provider)?;
    bench.lists(&provider, "it is listed", |set| ids(set) == ["a"]).await?;
    let a = bench.plain("a", 1);
    let entry = works("get", registry.get(a.service(), a.id()).await)?;
    let endpoint = entry.endpoint();
    ensure(
        endpoint.id() == a.id() && endpoint.address() == a.address(),
        "the endpoint",
        endpoint.to_string(),
    )?;
    let missing = registry.get(a.service(), bench.plain("missing", 1).id()).await;
    ensure(
        kind(&missing) == Some(ErrorKind::NotFound),
        "an error of kind NotFound",
        missing.map(|_| "an endpoint"),
    )
}

pub(super) async fn many(bench: &Bench<'_>) -> Done {
    const MANY: u8 = 20;
    let provider = bench.provider().await?;
    registry(&provider)?;
    let mut endpoints: Vec<_> = (1..=MANY).map(|last| bench.plain(&format!("e-{last:02}"), last)).collect();
    bench.random.shuffle(&mut endpoints);
    together(endpoints.len(), endpoints.iter().map(|endpoint| bench.register(&provider, endpoint))).await?;
    bench.lists(&provider, "all twenty", |set| set.entries().len() == usize::from(MANY)).await.map(drop)
}

/// The number of random ids beside the fixed ones.
const RANDOM_IDS: usize = 6;

pub(super) async fn odd_ids(bench: &Bench<'_>) -> Done {
    let provider = bench.provider().await?;
    let registry = registry(&provider)?;
    let fixed = ["a/b", "a/../b", "..", "a%2Fb", "ü", "a?b=c#d", "a:b,c", "A", "a"];
    let mut odd: Vec<_> = fixed.into_iter().map(str::to_owned).collect();
    odd.extend((0..RANDOM_IDS).map(|_| random_id(bench)));
    odd.sort_unstable();
    odd.dedup();
    bench.random.shuffle(&mut odd);
    let mut kept = Vec::new();
    for (id, last) in odd.iter().map(String::as_str).zip(1..) {
        let endpoint = bench.plain(id, last);
        match registry.register(&endpoint).await {
            Ok(()) => {
                // Registered again, so that it is deregistered at the end.
                bench.register(&provider, &endpoint).await?;
                kept.push(id);
            }
            // A registry that cannot store it must say so.
            Err(error) if matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::Validation) => {}
            Err(error) => {
                return crate::bench::fail("it is kept, or Unsupported", format!("{id}: {error}"));
            }
        }
    }
    kept.sort_unstable();
    let set = bench.lists(&provider, &format!("the ids {kept:?}"), |set| ids(set) == kept).await?;
    for (id, last) in odd.iter().map(String::as_str).zip(1_u8..).filter(|(id, _)| kept.contains(id)) {
        let address = find(&set, id).map(|entry| entry.endpoint().address().to_owned());
        ensure(address == Some(format!("10.1.2.{last}")), &format!("{id} at 10.1.2.{last}"), address)?;
    }
    Ok(())
}

/// Returns an id of up to 40 characters that wire formats like to give a meaning.
fn random_id(bench: &Bench<'_>) -> String {
    let characters: Vec<_> = "aAbZ09._-/%?#&=:;,@+~'\"\\<>{}[]()$!*|^`üßЖ漢😀".chars().collect();
    let length = 1 + bench.random.below(40);
    (0..length).map(|_| characters[bench.random.below(characters.len())]).collect()
}

pub(super) async fn cancelled(bench: &Bench<'_>) -> Done {
    let provider = bench.provider().await?;
    let registry = registry(&provider)?;
    let endpoint = bench.endpoint("a", 1).weight(3).metadata("whole", "yes").build().expect("valid");
    {
        let mut registering = registry.register(&endpoint);
        // Polls once, then drops the future.
        poll_fn(|context| {
            let _ = registering.as_mut().poll(context);
            Poll::Ready(())
        })
        .await;
    }
    sleep(bench.subject.calm()).await;
    let set = works("list", provider.list(&bench.query()).await)?;
    if let Some(entry) = find(&set, "a") {
        let weight = entry.endpoint().weight();
        ensure(weight == 3, "nothing, or the whole endpoint", entry.endpoint().to_string())?;
    }
    bench.register(&provider, &endpoint).await?;
    bench.lists(&provider, "it is there when it is done again", |set| ids(set) == ["a"]).await.map(drop)
}

pub(super) async fn claims(bench: &Bench<'_>) -> Done {
    let provider = bench.provider().await?;
    let a = bench.plain("a", 1);
    bench.register(&provider, &a).await?;
    bench.lists(&provider, "it is listed", |set| ids(set) == ["a"]).await?;
    let registry = registry(&provider)?;
    match registry.set_health(a.service(), a.id(), Health::Unhealthy).await {
        Ok(()) => {
            let has_claim = |set: &failover_core::provider::EndpointSet| {
                find(set, "a").is_some_and(|e| e.health() == Health::Unhealthy)
            };
            bench.lists(&provider, "it is unhealthy, as claimed", has_claim).await?;
        }
        Err(error) => ensure(error.kind() == ErrorKind::Unsupported, "it works, or Unsupported", error)?,
    }
    match registry.set_lifecycle(a.service(), a.id(), Lifecycle::Draining).await {
        Ok(()) => {
            let has_claim = |set: &failover_core::provider::EndpointSet| {
                find(set, "a").is_some_and(|e| e.lifecycle() == Lifecycle::Draining)
            };
            bench.lists(&provider, "it is draining, as set", has_claim).await?;
        }
        Err(error) => ensure(error.kind() == ErrorKind::Unsupported, "it works, or Unsupported", error)?,
    }
    let missing = bench.plain("missing", 1);
    let missing = registry.set_health(missing.service(), missing.id(), Health::Healthy).await;
    let right = matches!(kind(&missing), Some(ErrorKind::NotFound | ErrorKind::Unsupported));
    ensure(right, "NotFound for what is not there, or Unsupported", missing)
}
