//! The example looks for its servers before cargo compiles anything.

use std::process::{Command, Output};

fn launch(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_example-consul"));
    // No server can be found, and what would compile cannot be started.
    command.env_clear().env("XDG_CACHE_HOME", "/nonexistent").env("CARGO", "/nonexistent/cargo");
    command.args(args).output().expect("starts")
}

#[test]
fn a_missing_server_is_told_with_the_command_that_gets_it_and_nothing_is_compiled() {
    let out = launch(&[]);
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(!out.status.success() && said.contains("no consul on this machine"), "{said}");
    assert!(said.contains("`cargo xtask servers consul` gets it"), "{said}");
    assert!(said.contains("Nothing was compiled yet"), "{said}");
    assert!(!said.contains("cargo cannot be started"), "{said}");
}

#[test]
fn a_part_that_uses_servers_elsewhere_looks_for_none() {
    let out = launch(&["call", "1"]);
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(!out.status.success() && said.contains("cargo cannot be started"), "{said}");
    assert!(!said.contains("no consul"), "{said}");
}
