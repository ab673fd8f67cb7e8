//! The same as JSON.

use failover_core::FailoverManager;
use failover_core::inspect::{ServiceInspector, ServiceStats};
use serde_json::{Value, json};

use crate::figures::{Figures, samples};
use crate::overview::{EVENTS, is_in};
use crate::route::{View, paged};
use crate::service::{listed, values};

pub(crate) fn overview(manager: &FailoverManager, view: &View) -> Value {
    let services = manager.inspect();
    let (shown, page, pages) = paged(&services, view.page);
    let services: Vec<_> = shown.iter().map(|service| summary(&service.stats())).collect();
    json!({
        "services": services,
        "page": page,
        "pages": pages,
        "events": manager.events(EVENTS),
    })
}

fn summary(stats: &ServiceStats) -> Value {
    json!({
        "service": stats.service,
        "query": stats.query,
        "endpoints": stats.endpoints.len(),
        "available": stats.endpoints.iter().filter(|of| is_in(of.availability)).count(),
        "last_ten_seconds": Figures::of(&stats.last_ten_seconds).json(),
        "last_minute": Figures::of(&stats.last_minute).json(),
        "retry_tokens": stats.retry_tokens,
        "sources": stats.sources,
    })
}

pub(crate) fn service(service: &ServiceInspector, view: &View) -> Value {
    let (mut stats, mut explanation) = (service.stats(), service.explain());
    let config: Vec<_> = values(service, &explanation)
        .into_iter()
        .map(|(field, value, origin)| json!({"field": field, "value": value, "origin": origin}))
        .collect();
    let summary = summary(&stats);
    let (endpoints, page, pages) = {
        let all = listed(&explanation, view);
        let (shown, page, pages) = paged(&all, view.page);
        (shown.iter().map(|of| (*of).clone()).collect::<Vec<_>>(), page, pages)
    };
    let names: std::collections::HashSet<_> = endpoints.iter().map(|of| of.name.as_str()).collect();
    stats.endpoints.retain(|of| names.contains(of.name.as_str()));
    drop(names);
    explanation.endpoints = endpoints;
    let samples: Vec<_> = samples(&service.history()).iter().map(Figures::json).collect();
    json!({
        "summary": summary,
        "stats": stats,
        "explanation": explanation,
        "page": page,
        "pages": pages,
        "samples": samples,
        "events": service.events(EVENTS),
        "configuration": config,
    })
}
