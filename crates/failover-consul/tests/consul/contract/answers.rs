//! What becomes of each kind of answer to each request.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use failover_testkit::{FaultServer, Reply};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::agent::{Agent, kind};
use super::compare;
use super::operations::{Operation, operations, plain};
use crate::support::SECOND;

/// The largest answer that is read.
const LIMIT: usize = 64 << 10;
/// Number of cases at a time; each has a server.
const AT_ONCE: usize = 48;

/// The answers by what became of them.
type Outcomes = BTreeMap<String, Vec<String>>;

type Make = Arc<dyn Fn() -> Reply + Send + Sync>;

/// An answer instead of the agent's.
#[derive(Clone)]
struct Answer {
    name: String,
    make: Make,
    /// Whether it takes the whole deadline.
    is_slow: bool,
}

fn of(name: impl Into<String>, make: impl Fn() -> Reply + Send + Sync + 'static) -> Answer {
    Answer { name: name.into(), make: Arc::new(make), is_slow: false }
}

fn slow(name: &str, make: impl Fn() -> Reply + Send + Sync + 'static) -> Answer {
    Answer { is_slow: true, ..of(name, make) }
}

/// Returns every kind of answer; a redirect goes to `other`.
fn answers(other: &str) -> Vec<Answer> {
    let mut answers = Vec::new();
    let statuses = [201, 204, 400, 401, 403, 404, 405, 409, 413, 418, 429, 500, 501, 502, 503, 504];
    answers.extend(statuses.map(|status| of(status.to_string(), move || Reply::new(status, ""))));
    for status in [300, 301, 302, 303, 307, 308] {
        let location = format!("{other}/v1/elsewhere");
        answers.push(of(status.to_string(), move || Reply::new(status, "").header("location", &location)));
    }
    for (status, said) in [
        (400, "Invalid service address"),
        (401, "ACL support disabled"),
        (403, "ACL not found"),
        (403, "Permission denied"),
        (500, "No cluster leader"),
        (500, "No path to datacenter"),
        (500, "rpc error making call: EOF"),
        (502, "<html>bad gateway</html>"),
    ] {
        answers.push(of(format!("{status} {said}"), move || Reply::new(status, said)));
    }
    answers.push(of("429 after 7 s", || Reply::new(429, "").header("retry-after", "7")));
    answers.push(of("503 after 7 s", || Reply::new(503, "").header("retry-after", "7")));
    for body in
        ["", "null", "[]", "{}", "true", "false", "\"\"", "not JSON", "[{\"Service\":", "[[1]]", "[null]"]
    {
        answers
            .push(of(format!("200 {body}"), move || Reply::json(200, body).header("x-consul-index", "100")));
    }
    answers.push(of("200 not text", || Reply::json(200, [0xff, 0xfe, 0, 0xc3])));
    answers.push(of("filtered", || {
        Reply::json(200, "[]")
            .header("x-consul-index", "100")
            .header("x-consul-results-filtered-by-acls", "true")
    }));
    answers.push(of("one byte too many", || Reply::json(200, vec![b' '; LIMIT + 1])));
    answers.push(of("endless", || Reply::endless(200, " ".repeat(1000))));
    let bomb = gzip(&vec![b' '; 1 << 20]);
    answers.push(of("a bomb", move || Reply::json(200, bomb.clone()).header("content-encoding", "gzip")));
    answers.push(of("not gzip", || Reply::json(200, "not gzip").header("content-encoding", "gzip")));
    answers.push(of("cut off", || Reply::truncated(200, vec![b' '; 100], 10)));
    answers.push(of("no HTTP", || Reply::raw("SSH-2.0-OpenSSH_9.7\r\n")));
    answers.push(of("a long head", || {
        Reply::raw(format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(1 << 20)))
    }));
    answers.push(of("closed", Reply::close));
    answers.push(of("reset", Reply::reset));
    answers.push(slow("silence", Reply::hang));
    answers.push(slow("a head alone", || Reply::black_hole(200)));
    answers.push(slow("byte by byte", || Reply::trickle(200, vec![b' '; 1000], Duration::from_millis(300))));
    answers
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packer.write_all(bytes).expect("packs");
    packer.finish().expect("packs")
}

/// Also: a redirect is not followed, so no token goes elsewhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_becomes_of_every_kind_of_answer_is_as_recorded() {
    let elsewhere = FaultServer::start(|_| async { Reply::new(200, "[]") }).await;
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut running = JoinSet::new();
    for (number, operation) in operations().into_iter().filter(|operation| !operation.is_unasked).enumerate()
    {
        for (step, asked) in asked_by(operation).await.into_iter().enumerate() {
            for answer in answers(&elsewhere.url()) {
                let (places, asked) = (Arc::clone(&places), asked.clone());
                running.spawn(async move {
                    let _place = places.acquire().await.expect("open");
                    let outcome = case(operation, &asked, &answer).await;
                    ((number, step), format!("== {}: {asked}", operation.name), outcome, answer.name)
                });
            }
        }
    }
    // The answers with the same outcome, by request.
    let mut found: BTreeMap<(usize, usize), (String, Outcomes)> = BTreeMap::new();
    while let Some(done) = running.join_next().await {
        let (at, title, outcome, answer) = done.expect("it ends");
        let (_, outcomes) = found.entry(at).or_insert_with(|| (title, Outcomes::new()));
        outcomes.entry(outcome).or_default().push(answer);
    }
    assert_eq!(elsewhere.connections(), 0, "no redirect is followed");
    let mut text = String::new();
    for (title, outcomes) in found.into_values() {
        let _ = writeln!(text, "{title}");
        for (outcome, mut answers) in outcomes {
            answers.sort();
            let _ = writeln!(text, "{outcome}\n  {}", answers.join(" | "));
        }
    }
    compare("answers.txt", &text);
}

/// Returns the kinds of requests of an operation, in order.
async fn asked_by(operation: Operation) -> Vec<String> {
    let agent = Agent::start().await;
    let consul = plain(&agent).build().expect("valid");
    operation.prepare(&consul).await;
    let before = agent.requests().len();
    operation.run(&consul).await;
    let mut kinds = Vec::new();
    for kind in agent.requests().iter().skip(before).map(kind) {
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    kinds
}

/// Runs an operation whose requests of one kind are answered so, and describes the outcome.
async fn case(operation: Operation, asked: &str, answer: &Answer) -> String {
    let agent = Agent::start().await;
    let deadline = if answer.is_slow { SECOND * 2 } else { SECOND * 20 };
    let consul =
        plain(&agent).ttl(SECOND * 30).answer_bytes(LIMIT).deadline(deadline).build().expect("valid");
    operation.prepare(&consul).await;
    agent.fail(asked, Arc::clone(&answer.make));
    let before = agent.requests().len();
    let outcome = operation.run(&consul).await;
    // A request and the operation have equal deadlines. Where the operation can do without the answer, it
    // is done if that of the request is noticed first.
    if answer.is_slow && (outcome.starts_with("Timeout") || outcome.starts_with("ok")) {
        return "by the deadline".to_owned();
    }
    if operation.is_watch || answer.is_slow {
        return outcome;
    }
    format!("{outcome} [{} requests]", agent.requests().len() - before)
}
