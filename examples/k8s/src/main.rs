//! Three servers register themselves in a real Kubernetes API, and a process calls them by the
//! service's name while one of them and the API server itself are killed. No call fails.
//!
//! `cargo run -p example-k8s` starts an etcd and a kube-apiserver on this machine, gives a service
//! account exactly the permissions of `rbac.yaml`, and starts four more processes of this program.
//! The last line is `calls=N failed=N retried=N failovers=N p99_ms=N`.
//!
//! In a real cluster, `deploy.yaml` runs the same program: `example-k8s serve` in the called pods,
//! and `example-k8s call` in the calling pod.

#![allow(clippy::disallowed_methods, reason = "a program that measures, in real time")]

mod caller;
mod cluster;
mod server;

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use failover::k8s::KubernetesProvider;

/// The service of the three servers.
const SERVICE: &str = "user-service";

/// The lease of a server: short, to show its expiry.
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
        // Dropping the scenario ends the processes that it started.
        _ = tokio::signal::ctrl_c() => Err("interrupted".into()),
    }
}

/// Builds a provider for the cluster that `kubectl` uses, or in a pod for the pod's own cluster.
async fn provider() -> Result<KubernetesProvider, failover::Error> {
    KubernetesProvider::builder().lease_duration(LEASE).build().await
}
