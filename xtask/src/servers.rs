//! Finds the real servers for the tests on this machine, or builds them with
//! `xtask/servers/build.sh`.

use std::process::Command;

use failover_testkit::servers::{Server, cache};

use crate::cargo;

/// Runs `cargo xtask servers [NAME …]`: prints the path of each server.
pub(crate) fn command(args: &[String]) -> Result<(), String> {
    let servers = args.iter().map(|name| named(name)).collect::<Result<Vec<_>, _>>()?.concat();
    get(if servers.is_empty() { &Server::ALL } else { &servers })
}

/// Gets all servers that tests start.
pub(crate) fn run() -> Result<(), String> {
    get(&Server::ALL)
}

fn named(name: &str) -> Result<Vec<Server>, String> {
    let servers: Vec<_> = Server::ALL.into_iter().filter(|server| server.target() == name).collect();
    if servers.is_empty() {
        return Err(format!("there is no server `{name}`; these are: consul, consul-debian, k8s"));
    }
    Ok(servers)
}

fn get(servers: &[Server]) -> Result<(), String> {
    for server in servers {
        if let Err(why) = server.find() {
            eprintln!("{why}: building it; a first time takes minutes");
            build(*server)?;
        }
        println!("{}", server.find()?.display());
    }
    Ok(())
}

fn build(server: Server) -> Result<(), String> {
    let target = match server {
        Server::ConsulDebian => "consul-debian",
        other => other.name(),
    };
    let mut command = Command::new("bash");
    command.arg(cargo::root().join("xtask/servers/build.sh")).arg("-o").arg(cache());
    // The wrapper modules are kept, so that an interrupted build continues where it was.
    command.arg("-w").arg(cache().join("work")).arg(target);
    let status = command.status().map_err(|error| format!("bash cannot be started: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{target} cannot be had here; see above")) }
}
