//! The installed servers start.

use std::process::Command;

use failover_testkit::servers::Server;

#[test]
fn each_available_server_reports_its_version() {
    for server in Server::ALL {
        let Some(path) = server.get() else { continue };
        let argument =
            if server == Server::Consul || server == Server::ConsulDebian { "version" } else { "--version" };
        let output = Command::new(&path).arg(argument).output().expect("it is a program");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let expected = match server {
            Server::Consul => "Consul v1.",
            Server::ConsulDebian => "Consul v1.8.7",
            Server::Etcd => "etcd Version: 3.",
            Server::KubeApiserver => "Kubernetes v1.",
        };
        assert!(text.starts_with(expected), "{}: {text}", path.display());
    }
}
