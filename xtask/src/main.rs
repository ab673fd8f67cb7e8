//! The workspace's tasks: `cargo xtask` alone lists them.

#![allow(clippy::disallowed_methods, reason = "a program that measures, in real time")]

mod api;
mod build;
mod cargo;
mod certify;
mod ci;
mod compat;
mod deny;
mod features;
mod instructions;
mod isolation;
mod loom;
mod modules;
mod msrv;
mod new_provider;
mod package;
mod picture;
mod release;
mod results;
mod servers;
mod strangers;
mod suite;
mod tidy;

use std::process::ExitCode;

/// One line of the table that `cargo xtask` prints.
struct Command {
    name: &'static str,
    about: &'static str,
    run: fn(&[String]) -> Result<(), String>,
}

const COMMANDS: &[Command] = &[
    Command {
        name: "ci",
        about: "runs every check that a change must pass, in order; stops at the first failure",
        run: |args| no_arguments(args).and_then(|()| ci::run()),
    },
    Command {
        name: "full",
        about: "runs `ci`, then the tests of all packages, all of failover-consul's tests without consulrs, the matrix of overloads, 100 kills and the comparison with other libraries",
        run: |args| no_arguments(args).and_then(|()| ci::full()),
    },
    Command {
        name: "test",
        about: "runs all tests of the workspace and prints a summary (`test -- FILTER` selects some)",
        run: suite::command,
    },
    Command {
        name: "consul-slim",
        about: "runs failover-consul's tests without consulrs on scripted agents, or all of them (`consul-slim all`)",
        run: suite::consul_slim,
    },
    Command {
        name: "new-provider",
        about: "writes the crate of a new provider beside the workspace (`new-provider NAME --shape pushed`)",
        run: new_provider::run,
    },
    Command {
        name: "fmt",
        about: "checks the formatting with rustfmt",
        run: |args| no_arguments(args).and_then(|()| build::fmt()),
    },
    Command {
        name: "clippy",
        about: "checks all targets for warnings of the compiler and clippy",
        run: |args| no_arguments(args).and_then(|()| build::clippy()),
    },
    Command {
        name: "docs",
        about: "builds the libraries' documentation and fails on warnings",
        run: |args| no_arguments(args).and_then(|()| build::docs()),
    },
    Command {
        name: "features",
        about: "compiles each library without features, with each one alone, and with all",
        run: |args| no_arguments(args).and_then(|()| features::run()),
    },
    Command {
        name: "isolation",
        about: "checks that no part pulls in an unneeded HTTP, TLS or registry client, or too many crates (`--cold` times builds)",
        run: isolation::command,
    },
    Command {
        name: "msrv",
        about: "compiles each library with the oldest Rust that it supports",
        run: |args| no_arguments(args).and_then(|()| msrv::run()),
    },
    Command {
        name: "deny",
        about: "checks licences, bans, sources and known advisories of all dependencies, without consulrs and with it",
        run: |args| no_arguments(args).and_then(|()| deny::run()),
    },
    Command {
        name: "loom",
        about: "models half-open permits, retry budget and in-flight counts in every order of events",
        run: |args| no_arguments(args).and_then(|()| loom::run()),
    },
    Command {
        name: "servers",
        about: "finds or builds the real servers for the tests: `servers consul`, `consul-debian`, `k8s`, or all",
        run: servers::command,
    },
    Command {
        name: "strangers",
        about: "builds and runs programs outside the workspace that follow the READMEs",
        run: |args| no_arguments(args).and_then(|()| strangers::run()),
    },
    Command {
        name: "certify",
        about: "runs a provider's conformance test and prints its levels and badge (`certify dns`, `certify PATH`)",
        run: certify::command,
    },
    Command {
        name: "package",
        about: "packs the published crates, and builds and tests each from its package (`--quick` compiles them and tests a few)",
        run: package::command,
    },
    Command {
        name: "compat",
        about: "builds the packages with the oldest core that they admit and the next, and rehearses core 0.2 (`--floor` records the oldest)",
        run: compat::command,
    },
    Command {
        name: "api",
        about: "compares the public API of each published crate with the recorded one (`--bless` records it)",
        run: api::command,
    },
    Command {
        name: "release",
        about: "walks docs/releasing.md and says what is open (`--dry-run`, `--repository URL`)",
        run: release::command,
    },
    Command {
        name: "modules",
        about: "prints the folders' imports, back edges and cycles of every crate, or of one (`modules failover-core`)",
        run: modules::command,
    },
    Command {
        name: "tidy",
        about: "checks files, duplicated facts, words and lengths",
        run: |args| no_arguments(args).and_then(|()| tidy::run()),
    },
    Command {
        name: "sim",
        about: "compares what callers see of each simulated fault with the recorded results",
        run: |args| no_arguments(args).and_then(|()| build::sim()),
    },
    Command {
        name: "bench",
        about: "measures the costs beside those of other libraries (`--quick`, `--json FILE`, `--page FILE`)",
        run: build::compare,
    },
    Command {
        name: "instructions",
        about: "compares the instructions of select, finish and execute with the recorded counts (`--record` records)",
        run: instructions::command,
    },
    Command {
        name: "scale",
        about: "measures the costs of ten thousand endpoints, with optimisation",
        run: |args| no_arguments(args).and_then(|()| build::scale()),
    },
    Command {
        name: "kills",
        about: "kills servers under load, 100 times or as often as given (`kills 5`); no call may fail",
        run: build::kills,
    },
    Command {
        name: "quickstart",
        about: "runs the quick start on real servers, one killed and one frozen",
        run: |args| no_arguments(args).and_then(|()| build::quickstart()),
    },
    Command {
        name: "picture",
        about: "draws docs/images/quickstart.svg from a run of the quick start, or from `picture SAMPLES`",
        run: picture::command,
    },
];

fn main() -> ExitCode {
    if let Some(result) = api::stand_in() {
        return exit(result);
    }
    let mut args = std::env::args().skip(1);
    let Some(name) = args.next() else {
        println!("cargo xtask COMMAND\n\n{}", table());
        return ExitCode::SUCCESS;
    };
    let Some(command) = COMMANDS.iter().find(|command| command.name == name) else {
        eprintln!("error: there is no command `{name}`; these exist:\n\n{}", table());
        return ExitCode::FAILURE;
    };
    exit((command.run)(&args.collect::<Vec<_>>()))
}

fn exit(result: Result<(), String>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // An empty message means that the task has already reported everything.
        Err(why) if why.is_empty() => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

fn table() -> String {
    let width = COMMANDS.iter().map(|command| command.name.len()).max().unwrap_or(0);
    let line = |command: &Command| format!("  {:width$}  {}\n", command.name, command.about);
    COMMANDS.iter().map(line).collect()
}

fn no_arguments(args: &[String]) -> Result<(), String> {
    if args.is_empty() { Ok(()) } else { Err(format!("this command takes no arguments, got {args:?}")) }
}
