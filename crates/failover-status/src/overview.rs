//! The page of all services.

use std::fmt::Write;
use std::sync::Arc;
use std::time::SystemTime;

use failover_core::FailoverManager;
use failover_core::events::Event;
use failover_core::inspect::{Availability, ServiceStats};

use crate::figures::{Figures, rate, shown};
use crate::html::Escaped;
use crate::route::{View, paged};

/// The number of events on a page.
pub(crate) const EVENTS: usize = 20;

pub(crate) fn content(manager: &FailoverManager, view: &View, home: &str) -> String {
    let services = manager.inspect();
    let (shown_here, page, pages) = paged(&services, view.page);
    let mut out = String::from("<h1>Services</h1>\n");
    let here = View { page, ..view.clone() };
    let _ = write!(out, "<nav>{} · <a href=\"json\">JSON</a>", refresh_link(&here, home));
    pager(&mut out, &here, home, pages);
    out.push_str("</nav>\n");
    if services.is_empty() {
        let why = if manager.is_closed() {
            "The manager is closed: it keeps no services any more."
        } else {
            "No service is in use: one appears here when its handle is first asked for."
        };
        let _ = writeln!(out, "<p>{why}</p>");
    } else {
        out.push_str(
            "<table>\n<thead><tr><th>Service<th>Endpoints in use<th class=\"n\">Calls/s<th class=\"n\">Failed\
             <th class=\"n\">p50<th class=\"n\">p99<th>Sources</tr></thead>\n<tbody>\n",
        );
    }
    let mut now = SystemTime::UNIX_EPOCH;
    for service in shown_here {
        let stats = service.stats();
        now = stats.last_update;
        row(&mut out, &stats);
    }
    if !services.is_empty() {
        out.push_str(
            "</tbody>\n</table>\n<p class=\"dim\">Rates and percentiles are of the last 10 s.</p>\n",
        );
    }
    events(&mut out, &manager.events(EVENTS), now, true);
    out
}

fn row(out: &mut String, stats: &ServiceStats) {
    let figures = Figures::of(&stats.last_ten_seconds);
    let total = stats.endpoints.len();
    let used = stats.endpoints.iter().filter(|of| is_in(of.availability)).count();
    let class = match used {
        0 => "out",
        _ if used < total => "warn",
        _ => "in",
    };
    let name = match &stats.query {
        Some(query) => format!("{} ({query})", stats.service),
        None => stats.service.to_string(),
    };
    let link = View { query: stats.query.as_deref().map(str::to_owned), ..View::of("") };
    let _ = writeln!(
        out,
        "<tr><td><a href=\"{}\">{}</a><td class=\"{class}\">{used} of {total}{}<td>{}</tr>",
        Escaped(link.link(&format!("service/{}", stats.service))),
        Escaped(name),
        cells(&figures),
        sources(stats)
    );
}

/// Returns the cells of a period: calls, failed ones, and percentiles.
pub(crate) fn cells(figures: &Figures) -> String {
    let share = figures.failed_share() * 100.0;
    let class = if share > 0.0 { "n out" } else { "n" };
    let time = |of: Option<_>| of.map_or("–".to_owned(), shown);
    format!(
        "<td class=\"n\">{}<td class=\"{class}\">{}\u{a0}%<td class=\"n\">{}<td class=\"n\">{}",
        rate(figures.calls_per_second),
        rate(share),
        time(figures.p50),
        time(figures.p99)
    )
}

fn sources(stats: &ServiceStats) -> String {
    let stale = stats.sources.iter().filter(|source| source.stale).count();
    match stale {
        0 => "<span class=\"in\">fresh</span>".to_owned(),
        _ => format!("<span class=\"warn\">{stale} of {} stale</span>", stats.sources.len()),
    }
}

pub(crate) fn is_in(availability: Availability) -> bool {
    matches!(availability, Availability::In { .. })
}

/// Returns the link that starts or ends loading the page again.
pub(crate) fn refresh_link(view: &View, path: &str) -> String {
    let (text, refresh) = if view.refresh > 0 { ("Stop refreshing", 0) } else { ("Refresh every 5 s", 5) };
    let link = View { refresh, ..view.clone() }.link(path);
    format!("<a href=\"{}\">{text}</a>", Escaped(link))
}

/// Writes links to the pages before and after, if there are several.
pub(crate) fn pager(out: &mut String, view: &View, path: &str, pages: usize) {
    if pages < 2 {
        return;
    }
    let _ = write!(out, " · page {} of {pages}", view.page);
    for (text, page) in [("previous", view.page - 1), ("next", view.page + 1)] {
        if (1..=pages).contains(&page) {
            let link = View { page, ..view.clone() }.link(path);
            let _ = write!(out, " · <a href=\"{}\">{text}</a>", Escaped(link));
        }
    }
}

/// Writes events, the newest first, with their age.
pub(crate) fn events(out: &mut String, events: &[Arc<Event>], now: SystemTime, with_service: bool) {
    out.push_str("<h2>Last events</h2>\n");
    let Some(newest) = events.last() else {
        out.push_str("<p class=\"dim\">None.</p>\n");
        return;
    };
    // Without a service there is no statistic with a time; ages then count from the newest event.
    let now = now.max(newest.at);
    out.push_str("<table>\n<thead><tr><th>Ago<th>Event<th>About<th>Reason</tr></thead>\n<tbody>\n");
    for event in events.iter().rev() {
        let ago = now.duration_since(event.at).unwrap_or_default();
        let service = event.service.as_ref().filter(|_| with_service).map(ToString::to_string);
        let about = [
            service,
            event.endpoint.as_ref().map(ToString::to_string),
            event.provider.as_deref().map(str::to_owned),
        ];
        let about: Vec<_> = about.into_iter().flatten().collect();
        let _ = writeln!(
            out,
            "<tr><td class=\"n\">{}<td>{}<td>{}<td>{}</tr>",
            shown(ago),
            Escaped(event.kind),
            Escaped(about.join(" / ")),
            Escaped(&event.reason)
        );
    }
    out.push_str("</tbody>\n</table>\n");
}
