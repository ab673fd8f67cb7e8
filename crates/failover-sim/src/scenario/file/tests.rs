use failover_core::ErrorKind;

use super::*;
use crate::run::run;

const GOOD: &str = r#"
name = "good"
duration = "10s"
policies = ["default", "random"]
seeds = 2

[load]
rate = 10

[[endpoints]]
count = 2
zone = "a"
workers = 4
queue = "refuses"
bound = 10
service = { exponential = "10ms" }

[[endpoints]]
zone = "b"
priority = 1
service = { percentiles = "fleet.csv" }

[[faults]]
kind = "overload"
retry_after = "2s"
zone = "a"
from = "2s"
until = "4s"

[[bursts]]
factor = 2
from = "1s"
until = "3s"

[[stalls]]
at = "5s"
length = "1s"

[[registry]]
at = "3s"
answer = "lists"
zone = "a"

[[registry]]
at = "6s"
answer = "down"

[config]
max_retries = 1
"#;

fn parse(text: &str) -> Result<ScenarioFile, Error> {
    ScenarioFile::parse(text, &|name| match name {
        "fleet.csv" => Ok("50,10\n99,100\n".to_owned()),
        other => Err(Error::new(ErrorKind::Validation, format!("{other}: there is no such file"))),
    })
}

#[test]
fn a_file_says_what_is_simulated() {
    let file = parse(GOOD).expect("it is valid");
    let scenario = &file.scenario;
    assert_eq!((scenario.name(), scenario.duration, file.seeds), ("good", 10 * SECOND, 2));
    assert_eq!(file.policies, [Policy::Default, Policy::Random]);
    assert_eq!(scenario.load, Load::Open(10.0));
    assert_eq!(scenario.endpoints.len(), 3);
    assert_eq!((scenario.endpoints[0].workers, scenario.endpoints[0].queue), (4, Queue::Bounded(10)));
    assert_eq!((scenario.endpoints[2].priority, scenario.endpoints[2].zone.as_deref()), (1, Some("b")));
    let fault = &scenario.faults[0];
    assert_eq!((fault.kind, &fault.endpoints[..]), (FaultKind::Overload(Some(2 * SECOND)), &[0, 1][..]));
    assert_eq!((fault.from, fault.until), (2 * SECOND, 4 * SECOND));
    assert_eq!(scenario.stalls, [(5 * SECOND, SECOND)]);
    let lists = (3 * SECOND, Answer::Lists(vec![0, 1]));
    assert_eq!(scenario.registry, [lists, (6 * SECOND, Answer::Down)]);
    assert_eq!(scenario.config.max_retries(), 1);
    assert_eq!(scenario.config.attempt_timeout().as_secs(), 1, "as in every scenario that says nothing else");
}

/// Each row replaces one line of the good file. The error names the field, its value, and what would be right.
#[test]
fn bad_input_is_refused_by_its_field() {
    for (line, instead, field, value) in [
        ("rate = 10", "rate = -1", "load.rate", "-1"),
        ("rate = 10", "rate = 0", "load.rate", "0"),
        ("rate = 10", "rate = nan", "load.rate", "NaN"),
        ("rate = 10", "rate = inf", "load.rate", "inf"),
        ("rate = 10", "rate = 100_000_000", "load.rate", "100000000"),
        ("rate = 10", "rate = \"fast\"", "load.rate", "fast"),
        ("rate = 10", "rate = 10\ncallers = 3", "load", "both"),
        ("rate = 10", "", "load", "none"),
        ("rate = 10", "callers = 100_000", "load.callers", "100000"),
        ("rate = 10", "callers = 3\nthink = \"0s\"", "load.think", "0s"),
        ("rate = 10", "rates = 10", "load", "none"),
        ("rate = 10", "rate = 10\nrates = 10", "load.rates", "unknown"),
        ("duration = \"10s\"", "duration = \"0s\"", "duration", "0s"),
        ("duration = \"10s\"", "duration = \"18446744073709551615s\"", "duration", "18446744073709551615s"),
        ("duration = \"10s\"", "duration = 10", "duration", "10"),
        ("duration = \"10s\"", "", "duration", "no value"),
        ("name = \"good\"", "", "name", "no value"),
        ("name = \"good\"", "name = \"\"", "name", "an empty value"),
        ("seeds = 2", "seeds = 0", "seeds", "0"),
        ("seeds = 2", "seed = 2", "seed", "unknown"),
        ("seeds = 2", "clients = 0", "clients", "0"),
        ("seeds = 2", "idempotent = 1.5", "idempotent", "1.5"),
        ("policies = [\"default\", \"random\"]", "policies = [\"best\"]", "policies", "best"),
        ("policies = [\"default\", \"random\"]", "policies = []", "policies", "a list of 0"),
        ("count = 2", "count = 0", "endpoints[0].count", "0"),
        ("count = 2", "count = 1_000_000_000", "endpoints[0].count", "1000000000"),
        ("workers = 4", "workers = 0", "endpoints[0].workers", "0"),
        ("queue = \"refuses\"", "queue = \"lifo\"", "endpoints[0].queue", "lifo"),
        ("queue = \"refuses\"", "queue = \"drops\"", "endpoints[0].bound", "10"),
        ("bound = 10", "", "endpoints[0].bound", "no value"),
        ("priority = 1", "priority = -1", "endpoints[1].priority", "-1"),
        ("zone = \"a\"\nworkers", "priority = 2\nzone = \"a\"\nworkers", "endpoints.priority", "1"),
        (
            "{ exponential = \"10ms\" }",
            "{ exponential = \"0ms\" }",
            "endpoints[0].service.exponential",
            "0ms",
        ),
        ("{ exponential = \"10ms\" }", "{ constant = \"-5ms\" }", "endpoints[0].service.constant", "-5ms"),
        (
            "{ exponential = \"10ms\" }",
            "{ uniform = [\"9ms\"] }",
            "endpoints[0].service.uniform",
            "a list of 1",
        ),
        (
            "{ exponential = \"10ms\" }",
            "{ uniform = [\"9ms\", \"8ms\"] }",
            "endpoints[0].service.uniform",
            "8ms",
        ),
        ("{ exponential = \"10ms\" }", "{}", "endpoints[0].service", "none"),
        ("{ exponential = \"10ms\" }", "{ mean = \"1ms\" }", "endpoints[0].service.mean", "unknown"),
        ("\"fleet.csv\"", "\"none.csv\"", "none.csv", "no such file"),
        ("kind = \"overload\"", "kind = \"fire\"", "faults[0].kind", "fire"),
        ("kind = \"overload\"", "kind = \"refuse\"", "faults[0].kind", "refuse"),
        ("retry_after = \"2s\"", "retry_after = \"0s\"", "faults[0].retry_after", "0s"),
        ("zone = \"a\"\nfrom", "zone = \"x\"\nfrom", "faults[0].zone", "x"),
        ("zone = \"a\"\nfrom", "endpoints = [3]\nfrom", "faults[0].endpoints", "3"),
        ("zone = \"a\"\nfrom", "endpoints = []\nfrom", "faults[0].endpoints", "a list of 0"),
        ("until = \"4s\"", "until = \"2s\"", "faults[0].until", "2s"),
        ("until = \"4s\"", "share = 0", "faults[0].share", "0"),
        ("until = \"4s\"", "period = \"0s\"", "faults[0].period", "0s"),
        ("factor = 2", "factor = -2", "bursts[0].factor", "-2"),
        ("from = \"1s\"", "from = \"11s\"", "bursts[0].from", "11s"),
        ("length = \"1s\"", "length = \"0s\"", "stalls[0].length", "0s"),
        ("at = \"5s\"", "", "stalls[0].at", "no value"),
        ("answer = \"down\"", "answer = \"gone\"", "registry[1].answer", "gone"),
        ("answer = \"down\"", "answer = \"down\"\nzone = \"a\"", "registry[1].zone", "unknown"),
        ("at = \"6s\"", "at = \"2s\"", "registry[1].at", "2s"),
        ("at = \"3s\"", "at = \"0s\"", "registry[0].at", "0s"),
        ("max_retries = 1", "max_retries = 1000", "max_retries", "1000"),
        ("max_retries = 1", "max_retrys = 1", "max_retrys", "max_retries"),
    ] {
        assert!(GOOD.contains(line), "{line}");
        let text = GOOD.replacen(line, instead, 1);
        let error = parse(&text).expect_err(instead);
        let shown = error.to_string();
        assert_eq!(error.kind(), ErrorKind::Validation, "{instead}: {shown}");
        assert!(shown.contains(field) && shown.contains(value), "{instead}: {shown}");
    }
}

#[test]
fn no_endpoints_and_no_toml_are_refused() {
    let none = parse("name = \"none\"\nduration = \"10s\"\n[load]\nrate = 1\n").expect_err("no endpoints");
    assert!(none.to_string().starts_with("endpoints: 0 is not allowed; give 1 to 1000"), "{none}");
    let broken = parse("name = \"good\"\nduration = ").expect_err("no TOML").to_string();
    assert!(broken.contains("line 2"), "{broken}");
}

/// Every scenario that ships can be read, and names a fault that some policy's callers see, or the engine reacts to.
#[test]
fn the_shipped_scenarios_run() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
    let mut files = 0;
    for entry in std::fs::read_dir(directory).expect("they ship") {
        let path = entry.expect("readable").path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        files += 1;
        let file = ScenarioFile::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let stem = path.file_stem().expect("it has a name").to_string_lossy().replace('_', " ");
        assert_eq!(file.scenario.name(), stem, "a scenario is named as its file");
        let mut short = file.scenario.clone();
        short.duration = 30 * SECOND;
        let report = run(&short, Policy::Random, 1).expect("it runs");
        assert!(report.calls > 1_000, "{stem}");
        let seen = report.failed > 0 || report.seconds.iter().any(|second| second.p99 > 60_000_000);
        assert!(seen, "{stem}: no caller sees a fault");
    }
    assert_eq!(files, 12);
}
