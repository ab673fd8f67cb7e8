//! What each operation sends, byte by byte.

use std::fmt::Write as _;

use failover_consul::ConsulBuilder;
use failover_testkit::{Request, until};

use super::agent::Agent;
use super::compare;
use super::operations::{Operation, TOKEN, far, operations, plain};
use crate::support::SECOND;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_of_every_operation_is_as_recorded() {
    let mut text = String::new();
    for (settings, build) in [("plain", plain as fn(&Agent) -> ConsulBuilder), ("far", far)] {
        for operation in operations() {
            let (outcome, requests) = record(operation, build).await;
            let _ = writeln!(text, "== {}, {settings}: {outcome}", operation.name);
            for request in requests {
                text.push_str(&request);
            }
        }
    }
    assert!(text.contains(TOKEN), "requests have the token");
    compare("requests.txt", &text);
}

async fn record(operation: Operation, build: fn(&Agent) -> ConsulBuilder) -> (String, Vec<String>) {
    let agent = Agent::start().await;
    let consul = build(&agent).build().expect("valid");
    operation.prepare(&consul).await;
    let before = agent.requests().len();
    let outcome = operation.run(&consul).await;
    until(SECOND * 20, operation.name, || async { agent.requests().len() > before }).await;
    let shown = agent.requests().iter().skip(before).map(|request| show(request, &agent)).collect();
    (outcome.replace(&agent.server.address().to_string(), "AGENT"), shown)
}

/// Returns all of a request but the agent's port and the random name of the provider.
fn show(request: &Request, agent: &Agent) -> String {
    let headers: Vec<_> = request.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    let mut text = format!("{} {}\n  {}\n", request.method, request.target, headers.join(", "));
    let body = String::from_utf8_lossy(&request.body);
    if !body.is_empty() {
        let body = match body.split_once("\"fo-owner\":\"") {
            Some((before, after)) => {
                format!("{before}\"fo-owner\":\"{}", after.replacen(&after[..16], "OWNER", 1))
            }
            None => body.into_owned(),
        };
        let _ = writeln!(text, "  {body}");
    }
    text.replace(&agent.server.address().to_string(), "AGENT")
}
