//! The page of one service.

use std::collections::HashMap;
use std::fmt::Write;
use std::time::Duration;

use failover_core::inspect::{
    Availability, EndpointExplanation, EndpointStats, Explanation, ServiceInspector, ServiceStats,
};
use serde_json::Value;

use crate::figures::{Figures, rate, samples, shown};
use crate::form;
use crate::html::{Escaped, sparkline};
use crate::overview::{EVENTS, cells, events, is_in, pager, refresh_link};
use crate::route::{View, paged};

pub(crate) fn content(service: &ServiceInspector, view: &View, home: &str, with_operations: bool) -> String {
    let (stats, explanation) = (service.stats(), service.explain());
    let name = service.name().as_str();
    let path = format!("service/{name}");
    let endpoints = listed(&explanation, view);
    let (endpoints, page, pages) = paged(&endpoints, view.page);
    let here = View { page, ..view.clone() };
    let mut out =
        format!("<nav><a href=\"{}\">All services</a> · {}", Escaped(home), refresh_link(&here, &path));
    let json = View { refresh: 0, ..here.clone() }.link(&format!("json/{name}"));
    let _ = write!(out, " · <a href=\"{}\">JSON</a></nav>\n<h1>{}</h1>\n", Escaped(json), Escaped(name));
    let query = service.query().map_or(String::new(), |query| format!("asked for {query}, "));
    let _ = writeln!(out, "<p class=\"dim\">{}{}</p>", Escaped(query), Escaped(&explanation.selection));
    periods(&mut out, &stats);
    charts(&mut out, &samples(&service.history()));
    let _ = writeln!(out, "<p>{}</p>", Escaped(explanation.rules.to_string().trim().replace('\n', ";")));
    sources(&mut out, &stats);
    let (used, total) = (
        explanation.endpoints.iter().filter(|of| is_in(of.availability)).count(),
        explanation.endpoints.len(),
    );
    let _ = writeln!(out, "<h2>Endpoints: {used} of {total} in use</h2>\n<nav>{}", filter_link(&here, &path));
    pager(&mut out, &here, &path, pages);
    out.push_str("</nav>\n");
    table(&mut out, endpoints, &stats, with_operations);
    if with_operations {
        form::write(&mut out, name, service.query());
    }
    events(&mut out, &service.events(EVENTS), stats.last_update, false);
    configuration(&mut out, service, &explanation);
    out
}

/// The endpoints that a view shows, of all pages.
pub(crate) fn listed<'a>(explanation: &'a Explanation, view: &View) -> Vec<&'a EndpointExplanation> {
    explanation.endpoints.iter().filter(|of| !view.only_out || !is_in(of.availability)).collect()
}

fn filter_link(view: &View, path: &str) -> String {
    let text = if view.only_out { "Show all" } else { "Show only those that are out" };
    let link = View { only_out: !view.only_out, page: 1, ..view.clone() }.link(path);
    format!("<a href=\"{}\">{text}</a>", Escaped(link))
}

fn periods(out: &mut String, stats: &ServiceStats) {
    out.push_str(
        "<table>\n<thead><tr><th>Period<th class=\"n\">Calls/s<th class=\"n\">Failed<th class=\"n\">p50\
         <th class=\"n\">p99</tr></thead>\n<tbody>\n",
    );
    for (period, window) in [("last 10 s", &stats.last_ten_seconds), ("last minute", &stats.last_minute)] {
        let _ = writeln!(out, "<tr><td>{period}{}</tr>", cells(&Figures::of(window)));
    }
    out.push_str("</tbody>\n</table>\n");
}

fn charts(out: &mut String, samples: &[Figures]) {
    let seconds = |of: &Figures| of.p99.map_or(0.0, |of| of.as_secs_f64());
    let calls: Vec<_> = samples.iter().map(|of| of.calls_per_second).collect();
    let failed: Vec<_> = samples.iter().map(|of| of.failed_per_second).collect();
    let p99: Vec<_> = samples.iter().map(seconds).collect();
    let top = |values: &[f64]| values.iter().copied().fold(0.0, f64::max);
    out.push_str("<h2>Last minute</h2>\n<div class=\"charts\">\n");
    out.push_str(&sparkline("calls/s", &calls, &rate(top(&calls)), false));
    out.push_str(&sparkline("failed/s", &failed, &rate(top(&failed)), true));
    out.push_str(&sparkline("p99", &p99, &shown(Duration::from_secs_f64(top(&p99))), false));
    out.push_str("</div>\n");
}

fn sources(out: &mut String, stats: &ServiceStats) {
    out.push_str(
        "<h2>Sources</h2>\n<table>\n<thead><tr><th>Source<th class=\"n\">Tier<th>Last good answer\
         <th class=\"n\">Endpoints<th>State</tr></thead>\n<tbody>\n",
    );
    for source in &stats.sources {
        let query = source.query.as_ref().map_or(String::new(), |query| format!(" ({query})"));
        let age = source.age.map_or("never".to_owned(), |age| format!("{} ago", shown(age)));
        let (class, state) = match &source.error {
            Some(error) => ("warn", format!("stale: {error}")),
            None if source.age.is_some() => ("in", "fresh".to_owned()),
            None => ("dim", "not yet answered".to_owned()),
        };
        let _ = write!(
            out,
            "<tr><td>{}<td class=\"n\">{}<td>{age}<td class=\"n\">{}<td><span class=\"{class}\">{}</span>",
            Escaped(format!("{}{query}", source.provider)),
            source.tier,
            source.endpoints,
            Escaped(state)
        );
        for fault in &source.left_out {
            let _ = write!(out, "<br>left out: {}", Escaped(fault));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody>\n</table>\n");
}

fn table(out: &mut String, endpoints: &[&EndpointExplanation], stats: &ServiceStats, with_operations: bool) {
    if endpoints.is_empty() {
        out.push_str("<p class=\"dim\">None.</p>\n");
        return;
    }
    let by_name: HashMap<_, _> = stats.endpoints.iter().map(|of| (of.name.as_str(), of)).collect();
    out.push_str(
        "<table>\n<thead><tr><th>Endpoint<th>State, and what changes it next<th class=\"n\">Share\
         <th class=\"n\">Attempts<th class=\"n\">Failed<th class=\"n\">p99</tr></thead>\n<tbody>\n",
    );
    for of in endpoints {
        let class = match of.availability {
            Availability::In { pinned: false } => "in",
            Availability::In { .. } => "warn",
            _ => "out",
        };
        let tier = match of.tier {
            (0, 0) => String::new(),
            (source, priority) => format!(" · tier {source}.{priority}"),
        };
        let choice = if with_operations {
            format!(
                "<input type=\"radio\" name=\"endpoint\" form=\"operate\" value=\"{0}\" aria-label=\"{0}\"> ",
                Escaped(&of.name)
            )
        } else {
            String::new()
        };
        let _ = write!(
            out,
            "<tr><td>{choice}{}<br><span class=\"dim n\">{}{tier}</span><td><span class=\"{class}\">{}</span> for {}\
             <br><span class=\"dim\">{}</span>",
            Escaped(&of.name),
            Escaped(&of.address),
            Escaped(of.availability),
            shown(of.since),
            Escaped(&of.next)
        );
        cause(out, of);
        let (attempts, failures, p99) = counted(by_name.get(of.name.as_str()).copied());
        let _ = writeln!(
            out,
            "<td class=\"n\">{:.1}\u{a0}%<td class=\"n\">{attempts}<td class=\"n\">{failures}<td class=\"n\">{p99}</tr>",
            of.share * 100.0
        );
    }
    out.push_str("</tbody>\n</table>\n");
}

/// Writes why an endpoint is out: the newest event about it, its last failure, and other entries.
fn cause(out: &mut String, of: &EndpointExplanation) {
    if of.availability != (Availability::In { pinned: false }) {
        if let Some(event) = &of.evidence {
            let _ = write!(out, "<br>{}: {}", Escaped(event.kind), Escaped(&event.reason));
        }
        if let Some(last) = &of.last_failure {
            let _ = write!(out, "<br>last failure: {}", Escaped(last));
        }
    }
    for other in &of.others {
        let _ = write!(out, "<br>also listed as {}@{}", Escaped(&other.id), Escaped(&other.source));
    }
}

fn counted(of: Option<&EndpointStats>) -> (String, String, String) {
    // Absent if it has come between the two reads.
    let Some(of) = of else { return ("–".to_owned(), "–".to_owned(), "–".to_owned()) };
    let p99 = of.latency.map_or("–".to_owned(), |latency| shown(latency.p99));
    (of.attempts.to_string(), of.failures.to_string(), p99)
}

/// Writes every value of the configuration, with its origin.
fn configuration(out: &mut String, service: &ServiceInspector, explanation: &Explanation) {
    out.push_str(
        "<h2>Configuration in force</h2>\n<details><summary>All values</summary>\n<table>\n\
         <thead><tr><th>Field<th>Value<th>From</tr></thead>\n<tbody>\n",
    );
    for (field, value, origin) in values(service, explanation) {
        let class = if origin == "default" { " class=\"dim\"" } else { "" };
        let _ = writeln!(
            out,
            "<tr{class}><td>{}<td>{}<td>{}</tr>",
            Escaped(field),
            Escaped(value),
            Escaped(origin)
        );
    }
    out.push_str("</tbody>\n</table>\n</details>\n");
}

/// Returns each value of the configuration with its origin. Metadata is left out: it is the owner's, and
/// may hold secrets.
pub(crate) fn values(service: &ServiceInspector, explanation: &Explanation) -> Vec<(String, String, String)> {
    let config = serde_json::to_value(&*service.config()).unwrap_or_default();
    let mut found = Vec::new();
    leaves("", &config, &mut found);
    let with_origin = |(field, value): (String, String)| {
        let set = explanation.config.iter().find(|set| {
            field == set.field || field.strip_prefix(&set.field).is_some_and(|rest| rest.starts_with('.'))
        });
        let origin = match set {
            Some(set) => set.origin.clone().unwrap_or_else(|| "set in code".to_owned()),
            None => "default".to_owned(),
        };
        (field, value, origin)
    };
    found.into_iter().map(with_origin).collect()
}

fn leaves(path: &str, value: &Value, found: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (key, value) in fields.iter().filter(|(key, _)| !(path.is_empty() && *key == "metadata")) {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                leaves(&path, value, found);
            }
        }
        Value::String(text) => found.push((path.to_owned(), text.clone())),
        other => found.push((path.to_owned(), other.to_string())),
    }
}
