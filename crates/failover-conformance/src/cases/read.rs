//! Cases about reading endpoints.

use failover_core::ErrorKind;
use failover_core::provider::{EndpointEntry, Query};

use crate::bench::{Bench, Done, ensure, lasts, shown, works};

pub(super) async fn query(bench: &Bench<'_>) -> Done {
    let provider = bench.provider().await?;
    let blue = bench.endpoint("blue", 1).tag("blue").metadata("version", "1").build().expect("valid");
    let green = bench.endpoint("green", 2).tag("green").metadata("version", "2").build().expect("valid");
    for endpoint in [&blue, &green] {
        bench.write(&provider, endpoint).await?;
    }
    let all = bench.lists(&provider, "both", |set| lasts(set) == [1, 2]).await?;
    // A backend may keep neither; then no endpoint matches. Another clause covers what is lost.
    let kept = |keeps: fn(&EndpointEntry) -> bool| all.entries().iter().any(keeps);
    let tags = kept(|entry| entry.endpoint().tags().iter().any(|tag| tag == "blue"));
    let metadata = kept(|entry| entry.endpoint().metadata().contains_key("version"));
    for (query, what, expected) in [
        (bench.query().tag("blue"), "the one with the tag blue", tags.then_some(1)),
        (
            bench.query().metadata("version", "2"),
            "the one with version 2 in its metadata",
            metadata.then_some(2),
        ),
        (bench.query().tag("conformance-none"), "none, because none has the tag", None),
        (bench.query().metadata("version", "3"), "none, because none has the metadata", None),
    ] {
        let found = works("list", provider.list(&query).await)?;
        ensure(lasts(&found) == Vec::from_iter(expected), what, shown(&found))?;
    }
    let everything = match provider.list(&Query::all()).await {
        Err(error) if error.kind() == ErrorKind::Unsupported && provider.registry().is_none() => {
            return Ok(());
        }
        listed => works("list of all services", listed)?,
    };
    let ours = everything.entries().iter().filter(|entry| *entry.endpoint().service() == bench.service());
    ensure(ours.clone().count() == 2, "both among the endpoints of all services", ours.count())
}
