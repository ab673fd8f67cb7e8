//! The report for programs: JSON, and `JUnit` XML.

use std::fmt::Write;

use serde_json::{Value, json};

use super::Report;
use crate::advice::advice;
use crate::level::Standing;
use crate::outcome::{CaseReport, Lack, Outcome};

impl Report {
    /// Returns the report as a JSON document: versions, seed, levels, and each clause with its outcome.
    pub fn to_json(&self) -> String {
        let [passed, failed, skipped] = self.counts();
        let standing = |standing: &Standing| match standing {
            Standing::Reached => json!({ "standing": "reached" }),
            Standing::NotOffered { why } => json!({ "standing": "not offered", "why": why }),
            Standing::NotReached { why } => json!({ "standing": "not reached", "why": why }),
        };
        let reports = self.level_reports();
        let standings = reports.iter().map(|report| (report.level.to_string(), standing(&report.standing)));
        let document = json!({
            "conformance": crate::VERSION,
            "core": failover_core::VERSION,
            "seed": self.seed,
            "provider": self.provider.as_ref().map(|(kind, version)| json!({ "kind": kind, "version": version })),
            "backend": self.backend,
            "levels": self.levels().iter().map(|level| level.as_str()).collect::<Vec<_>>(),
            "standings": standings.collect::<serde_json::Map<_, _>>(),
            "passed": passed,
            "failed": failed,
            "skipped": skipped,
            "clauses": self.cases.iter().map(clause).collect::<Vec<_>>(),
        });
        format!("{document:#}")
    }

    /// Returns the report as a `JUnit` XML document, which build servers display.
    pub fn to_junit(&self) -> String {
        let [_, failed, skipped] = self.counts();
        let seconds: f64 = self.cases.iter().map(|case| case.took.as_secs_f64()).sum();
        let (kind, version) = self.provider.as_ref().map_or(("", ""), |(kind, version)| (kind, version));
        let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
        let _ = writeln!(
            xml,
            "  <testsuite name=\"failover-conformance {}\" tests=\"{}\" failures=\"{failed}\" errors=\"0\" \
             skipped=\"{skipped}\" time=\"{seconds:.3}\">\n    <properties>",
            escaped(kind),
            self.cases.len()
        );
        for (name, value) in [
            ("provider", kind),
            ("version", version),
            ("backend", &self.backend),
            ("level", &self.level_names()),
            ("core", failover_core::VERSION),
            ("conformance", crate::VERSION),
            ("seed", &self.seed.to_string()),
        ] {
            let _ = writeln!(xml, "      <property name=\"{name}\" value=\"{}\"/>", escaped(value));
        }
        xml.push_str("    </properties>\n");
        for case in &self.cases {
            test_case(&mut xml, case);
        }
        xml.push_str("  </testsuite>\n</testsuites>\n");
        xml
    }
}

fn clause(case: &CaseReport) -> Value {
    let mut value = json!({
        "number": case.number,
        "name": case.name,
        "level": case.level.as_str(),
        "seconds": case.took.as_secs_f64(),
    });
    match &case.outcome {
        Outcome::Passed => value["outcome"] = "passed".into(),
        Outcome::Skipped { why, lack } => {
            value["outcome"] = "skipped".into();
            value["why"] = why.as_str().into();
            value["lack"] = match lack {
                Lack::Offer => "offer",
                Lack::Hook => "hook",
                Lack::Evidence => "evidence",
            }
            .into();
        }
        Outcome::Failed { expected, seen } => {
            value["outcome"] = "failed".into();
            value["expected"] = expected.as_str().into();
            value["seen"] = seen.as_str().into();
            value["to_do"] = advice(case.number).into();
        }
    }
    value
}

fn test_case(xml: &mut String, case: &CaseReport) {
    let _ = write!(
        xml,
        "    <testcase classname=\"{}\" name=\"{} {}\" time=\"{:.3}\"",
        case.level,
        case.number,
        escaped(case.name),
        case.took.as_secs_f64()
    );
    match &case.outcome {
        Outcome::Passed => xml.push_str("/>\n"),
        Outcome::Skipped { why, .. } => {
            let _ = writeln!(xml, "><skipped message=\"{}\"/></testcase>", escaped(why));
        }
        Outcome::Failed { expected, seen } => {
            let (expected, seen, to_do) = (escaped(expected), escaped(seen), escaped(advice(case.number)));
            let _ = writeln!(
                xml,
                "><failure message=\"expected: {expected}\">expected: {expected}\nseen: {seen}\nto do: {to_do}</failure></testcase>"
            );
        }
    }
}

/// Escapes text for XML. Characters that XML 1.0 cannot contain, even escaped, are shown as in Rust.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\t' | '\n' | '\r' => {
                let _ = write!(out, "&#{};", character as u32);
            }
            '\0'..='\x1f' | '\u{7f}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}' => {
                let _ = write!(out, "{}", character.escape_unicode());
            }
            other => out.push(other),
        }
    }
    out
}
