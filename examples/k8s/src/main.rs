//! Three servers that register themselves in a real Kubernetes API, and a process that calls them by the service's name
//! while one of them and the API server itself are killed. No call fails.
//!
//! `cargo run -p example-k8s` starts an etcd and a kube-apiserver on this machine, gives a service account the rights of
//! `rbac.yaml` and no more, and starts itself again as four other processes. It ends with the line
//! `calls=N failed=N retried=N failovers=N p99_ms=N`.
//!
//! In a real cluster `deploy.yaml` runs the same program: `example-k8s serve` in the pods that are called, and
//! `example-k8s call` in the one that calls.

#![allow(clippy::disallowed_methods, reason = "a program that measures, in real time")]

mod caller;
mod cluster;
mod server;

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use failover::k8s::KubernetesProvider;

/// What the three servers are.
const SERVICE: &str = "user-service";

/// For how long a server is believed after its last sign of life: short, to see it go.
const LEASE: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let result = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => run(cluster::story()),
        ["serve", name, address, port] => run(server::serve(name, address, port)),
        ["call", seconds] => run(caller::call(seconds)),
        _ => Err("usage: example-k8s [serve NAME ADDRESS PORT | call SECONDS]".into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(part: impl Future<Output = Result<(), Box<dyn Error>>>) -> Result<(), Box<dyn Error>> {
    tokio::select! {
        result = part => result,
        // Dropping the story ends the processes that it started.
        _ = tokio::signal::ctrl_c() => Err("interrupted".into()),
    }
}

/// The cluster that `kubectl` would talk to from here, which in a pod is its own.
async fn provider() -> Result<KubernetesProvider, failover::Error> {
    KubernetesProvider::builder().lease_duration(LEASE).build().await
}
