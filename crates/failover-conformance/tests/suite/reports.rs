//! The report as text, JSON and `JUnit` XML.

use std::path::PathBuf;
use std::process::Command;

use failover_conformance::run_with_seed;
use failover_core::Endpoint;
use serde_json::Value;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn json_names_versions_seed_levels_and_each_clause() {
    let report = run_with_seed(&Broken::new(None), 7).await;
    let json: Value = serde_json::from_str(&report.to_json()).expect("JSON");
    assert_eq!(json["seed"], 7);
    assert_eq!(json["core"], failover_core::VERSION);
    assert_eq!(json["conformance"], env!("CARGO_PKG_VERSION"));
    assert_eq!(json["provider"]["kind"], "memory");
    assert_eq!(json["levels"], serde_json::json!(["Read", "Watch", "Write", "Configure", "Survive"]));
    assert_eq!(json["clauses"].as_array().expect("a list").len(), report.cases().len());
    assert_eq!(json["clauses"][0]["outcome"], "passed");
    let text = report.to_string();
    let core = failover_core::VERSION;
    for part in [&format!("failover-core {core}, seed 7"), "Survive    reached", "levels: Read, Watch, Write"]
    {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn junit_is_xml_whatever_the_texts_contain() {
    let report = run_with_seed(&Broken::new(Some(Flaw::PanicsOnABrokenEntry)), 7).await;
    let xml = report.to_junit();
    let document = roxmltree::Document::parse(&xml).unwrap_or_else(|error| panic!("{error}\n{xml}"));
    let find = |name: &'static str| document.descendants().filter(move |node| node.has_tag_name(name));
    let suite = find("testsuite").next().expect("a suite");
    assert_eq!(suite.attribute("failures"), Some("1"));
    assert_eq!(suite.attribute("tests"), Some(report.cases().len().to_string().as_str()));
    assert_eq!(find("testcase").count(), report.cases().len());
    let property = |name: &str| {
        let of = find("property").find(|node| node.attribute("name") == Some(name));
        of.and_then(|node| node.attribute("value")).expect("a property").to_owned()
    };
    assert_eq!(property("seed"), "7");
    assert_eq!(property("level"), "none");
    assert_eq!(property("core"), failover_core::VERSION);
    // XML cannot contain the control character.
    assert_eq!(property("backend"), "a test's <cluster> & \\u{1b}");
    let failure = find("failure").next().expect("a failure");
    assert!(
        failure.text().is_some_and(|text| text.contains("a panic: called `Option::unwrap()`")),
        "{failure:?}"
    );
}

/// Notes which clauses are tested, and the endpoints that they write through the subject, in order.
struct Noting(Broken, std::sync::Mutex<Vec<String>>);

impl Noting {
    fn note(&self, what: String) {
        self.1.lock().expect("whole").push(what);
    }
}

#[async_trait]
impl Subject for Noting {
    async fn provider(&self) -> Result<Arc<dyn Provider>, Error> {
        self.0.provider().await
    }

    fn service(&self, clause: u32) -> String {
        self.note(clause.to_string());
        format!("conformance-{clause}-noting")
    }

    async fn write_all(&self, provider: &dyn Provider, endpoints: &[Endpoint]) -> Result<bool, Error> {
        for endpoint in endpoints {
            self.note(endpoint.id().to_string());
        }
        self.0.write_all(provider, endpoints).await
    }

    fn crowd(&self) -> usize {
        100
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_seed_gives_the_same_order_of_cases_and_ids() {
    let noted = async |seed| {
        let subject = Noting(Broken::new(None), std::sync::Mutex::default());
        run_with_seed(&subject, seed).await.assert();
        subject.1.into_inner().expect("whole")
    };
    let (one, again, other) = tokio::join!(noted(1), noted(1), noted(2));
    assert_eq!(one, again);
    assert_ne!(one, other);
    let cases =
        |all: &[String]| all.iter().filter(|what| what.parse::<u32>().is_ok()).cloned().collect::<Vec<_>>();
    let ids =
        |all: &[String]| all.iter().filter(|what| what.starts_with("crowd-")).cloned().collect::<Vec<_>>();
    assert_ne!(cases(&one), cases(&other));
    assert_ne!(ids(&one), ids(&other));
    assert_eq!(ids(&one).len(), 99);
}

/// Does what a test of a provider does; the test below runs it in a process with other variables.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_for_the_environment() {
    println!("{}", run(&Broken::new(None)).await);
}

fn run_again(directory: &PathBuf, seed: &str) -> std::process::Output {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", "reports::a_run_for_the_environment", "--nocapture"]);
    command.env("FAILOVER_CONFORMANCE_REPORT", directory).env("FAILOVER_CONFORMANCE_SEED", seed);
    command.output().expect("it runs")
}

#[test]
fn the_environment_sets_the_seed_and_where_reports_are_written() {
    let directory =
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("reports-{}", std::process::id()));
    let read = |name: &str| std::fs::read_to_string(directory.join(name)).unwrap_or_default();
    for _ in 0..2 {
        let output = run_again(&directory, "1234");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    for name in ["report", "report-2"] {
        assert!(read(&format!("{name}.txt")).contains("seed 1234"), "{name}");
        assert!(read(&format!("{name}.json")).contains("\"seed\": 1234"), "{name}");
        assert!(read(&format!("{name}.xml")).contains("value=\"1234\""), "{name}");
    }
    // The report of a repeated run is the same.
    assert_eq!(read("report.txt"), read("report-2.txt"));
    let output = run_again(&directory, "yesterday");
    let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    assert!(
        !output.status.success() && said.contains("FAILOVER_CONFORMANCE_SEED is \"yesterday\""),
        "{said}"
    );
    std::fs::remove_dir_all(&directory).expect("it is there");
}
