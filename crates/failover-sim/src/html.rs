//! One page for one scenario: tables and charts, policies side by side, in one file that needs no other.

mod chart;

use std::fmt::Write;

use crate::policy::Policy;
use crate::record::{Report, Second};
use crate::scenario::Scenario;
use crate::summary::Summary;
use chart::{Line, lines, strips};

/// What one policy came to: the report of the first seed for the charts, the figures of all seeds for the table.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Side {
    /// The policy.
    pub policy: Policy,
    /// The report of the first seed.
    pub report: Report,
    /// The figures of all seeds.
    pub summary: Summary,
}

impl Side {
    /// One policy's part.
    pub fn new(policy: Policy, report: Report, summary: Summary) -> Self {
        Self { policy, report, summary }
    }
}

const STYLE: &str = "body{font:14px/1.4 system-ui,sans-serif;margin:2em;color:#222}\
table{border-collapse:collapse}td,th{padding:.2em .6em;text-align:right;border-bottom:1px solid #ddd}\
td:first-child,th:first-child{text-align:left}.row{display:flex;flex-wrap:wrap;gap:1em}figure{margin:0}\
figcaption{font-weight:600}";

const COLOURS: [&str; 10] = [
    "#1f77b4", "#d62728", "#2ca02c", "#ff7f0e", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22",
    "#17becf",
];

/// The page.
pub fn page(scenario: &Scenario, seeds: u64, sides: &[Side]) -> String {
    let title = escape(scenario.name());
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\n\
         <style>{STYLE}</style></head><body>\n<h1>{title}</h1>\n<p>Figures of {seeds} seeds; charts of seed 1. \
         A red band marks the seconds in which some fault holds.</p>\n"
    );
    table(&mut page, sides);
    section(&mut page, "Calls a second: all, and those that failed", sides, |report| {
        let calls = curve(report, "#888", "calls", |second| second.calls as f64);
        let failed = curve(report, "#d62728", "failed", |second| second.failed as f64);
        lines(&[calls, failed], &faulty(report), "")
    });
    section(&mut page, "Share of the calls that succeeded, in percent", sides, |report| {
        lines(&[goodput(report, "#2ca02c", "succeeded")], &faulty(report), "%")
    });
    section(&mut page, "Time of a call in ms: median, 99th and 99.9th percentile", sides, |report| {
        let ms = |colour, name, time: fn(&Second) -> u64| {
            curve(report, colour, name, |second| time(second) as f64 / 1e6)
        };
        let times = [
            ms("#d62728", "p99.9", |second| second.p999),
            ms("#ff7f0e", "p99", |second| second.p99),
            ms("#1f77b4", "p50", |second| second.p50),
        ];
        lines(&times, &faulty(report), " ms")
    });
    section(
        &mut page,
        "Share of the attempts of each endpoint; red: it is faulty, black: the policy keeps it out",
        sides,
        |report| strips(&report.seconds),
    );
    section(&mut page, "Retry tokens of the first client", sides, |report| {
        if report.seconds.iter().all(|second| second.retry_tokens.is_none()) {
            return "<p>This policy has none.</p>".to_owned();
        }
        let tokens = |second: &Second| f64::from(second.retry_tokens.unwrap_or(0));
        lines(&[curve(report, "#9467bd", "tokens", tokens)], &faulty(report), "")
    });
    page.push_str("</body></html>\n");
    page
}

/// One chart of the share of the calls that succeeded, with a line for each policy: a picture by itself.
pub fn picture(sides: &[Side]) -> String {
    let colours = COLOURS.iter().cycle();
    let curves: Vec<_> = sides
        .iter()
        .zip(colours)
        .map(|(side, colour)| goodput(&side.report, colour, side.policy.as_str()))
        .collect();
    let faulty = sides.first().map(|side| faulty(&side.report)).unwrap_or_default();
    lines(&curves, &faulty, "%")
}

fn table(page: &mut String, sides: &[Side]) {
    let cells = |text: &str, tag: &str| {
        text.split_whitespace().fold(String::new(), |row, cell| format!("{row}<{tag}>{cell}</{tag}>"))
    };
    // The names of columns of two words are one cell each.
    let header =
        Summary::header().replace(" %", "\u{a0}%").replace(" ms", "\u{a0}ms").replace(" s", "\u{a0}s");
    let header = header.split(' ').filter(|word| !word.is_empty());
    let header = header.fold(String::new(), |row, cell| format!("{row}<th>{cell}</th>"));
    let _ = writeln!(page, "<table><tr><th>policy</th>{header}</tr>");
    for side in sides {
        let cells = cells(&side.summary.line(), "td");
        let _ = writeln!(page, "<tr><td>{}</td>{cells}</tr>", side.policy);
    }
    page.push_str("</table>\n");
}

fn section(page: &mut String, title: &str, sides: &[Side], chart: impl Fn(&Report) -> String) {
    let _ = writeln!(page, "<h2>{title}</h2>\n<div class=\"row\">");
    for side in sides {
        let _ = writeln!(
            page,
            "<figure><figcaption>{}</figcaption>{}</figure>",
            side.policy,
            chart(&side.report)
        );
    }
    page.push_str("</div>\n");
}

fn curve(report: &Report, colour: &'static str, name: &str, value: impl Fn(&Second) -> f64) -> Line {
    Line { name: name.to_owned(), colour, points: report.seconds.iter().map(value).collect() }
}

fn goodput(report: &Report, colour: &'static str, name: &str) -> Line {
    curve(report, colour, name, |second| {
        let ended = second.succeeded + second.failed;
        if ended == 0 { 100.0 } else { second.succeeded as f64 / ended as f64 * 100.0 }
    })
}

/// Whether some fault held in each second.
fn faulty(report: &Report) -> Vec<bool> {
    report.seconds.iter().map(|second| second.faulty.contains(&true)).collect()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ScenarioFile;
    use crate::run::run;

    #[test]
    fn a_page_has_every_chart_of_every_policy_and_needs_no_other_file() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios/crash.toml");
        let file = ScenarioFile::read(path).expect("it ships");
        let side = |policy| {
            let report = run(&file.scenario, policy, 1).expect("it runs");
            let summary = Summary::of(&file.scenario, std::slice::from_ref(&report), 0);
            Side::new(policy, report, summary)
        };
        let sides = [side(Policy::Default), side(Policy::Random)];
        let page = page(&file.scenario, 1, &sides);
        assert_eq!(page.matches("<svg").count(), 9, "five charts of ours, four of one without tokens");
        assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
        assert_eq!(page.matches("<tr>").count(), 3);
        for other in ["http://", "https://", "src=", "href=", "NaN", "inf"] {
            let found = page.replace("http://www.w3.org/2000/svg", "").contains(other);
            assert!(!found, "the page contains {other}");
        }
        assert!(picture(&sides).contains("random"));
        assert_eq!(escape("<a & \"b\">"), "&lt;a &amp; &quot;b&quot;&gt;");
    }
}
