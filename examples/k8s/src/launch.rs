//! Looks for the servers, and then compiles and runs the example: `main.rs`.

use std::process::ExitCode;

use failover_testkit::servers::Server;

fn main() -> ExitCode {
    example_launch::launch("example-k8s", &[Server::Etcd, Server::KubeApiserver])
}
