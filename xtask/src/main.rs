//! The workspace's chores: `cargo xtask` alone prints what there is.

#![allow(clippy::disallowed_methods, reason = "a program that measures, in real time")]

mod build;
mod cargo;
mod ci;
mod deny;
mod features;
mod instructions;
mod isolation;
mod loom;
mod modules;
mod msrv;
mod picture;
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
        about: "all that a change must pass, in order; stops at the first failure",
        run: |args| no_arguments(args).and_then(|()| ci::run()),
    },
    Command {
        name: "test",
        about: "every test of the workspace, then the sum (`test -- FILTER` for some of them)",
        run: suite::command,
    },
    Command {
        name: "fmt",
        about: "formatting is as rustfmt has it",
        run: |args| no_arguments(args).and_then(|()| build::fmt()),
    },
    Command {
        name: "clippy",
        about: "no warning of the compiler or clippy in any target",
        run: |args| no_arguments(args).and_then(|()| build::clippy()),
    },
    Command {
        name: "docs",
        about: "the libraries' documentation builds without a warning",
        run: |args| no_arguments(args).and_then(|()| build::docs()),
    },
    Command {
        name: "features",
        about: "each library compiles with no feature, each one alone, and all",
        run: |args| no_arguments(args).and_then(|()| features::run()),
    },
    Command {
        name: "isolation",
        about: "no part pulls an HTTP, TLS or registry client that it does not need, nor too many crates",
        run: |args| no_arguments(args).and_then(|()| isolation::run()),
    },
    Command {
        name: "msrv",
        about: "each library compiles with the oldest Rust that it promises",
        run: |args| no_arguments(args).and_then(|()| msrv::run()),
    },
    Command {
        name: "deny",
        about: "licences, bans, sources and known advisories of all dependencies",
        run: |args| no_arguments(args).and_then(|()| deny::run()),
    },
    Command {
        name: "loom",
        about: "half-open permits, retry budget and in-flight in every order of events",
        run: |args| no_arguments(args).and_then(|()| loom::run()),
    },
    Command {
        name: "servers",
        about: "the real servers for the tests, found or built: `servers consul`, `consul-debian`, `k8s`, or all",
        run: servers::command,
    },
    Command {
        name: "strangers",
        about: "programs outside of the workspace, with the lines of the READMEs, build and run",
        run: |args| no_arguments(args).and_then(|()| strangers::run()),
    },
    Command {
        name: "modules",
        about: "which folders import which, in every crate or one (`modules failover-core`); back edges, cycles",
        run: modules::command,
    },
    Command {
        name: "tidy",
        about: "files, facts that stand twice, words and lengths",
        run: |args| no_arguments(args).and_then(|()| tidy::run()),
    },
    Command {
        name: "sim",
        about: "what callers see of each fault in the simulator, compared with what is recorded of it",
        run: |args| no_arguments(args).and_then(|()| build::sim()),
    },
    Command {
        name: "bench",
        about: "the costs beside those of other libraries (`--quick`, `--json FILE`, `--page FILE`)",
        run: build::compare,
    },
    Command {
        name: "instructions",
        about: "instructions for each select, finish and execute beside the recorded counts (`--record` records)",
        run: instructions::command,
    },
    Command {
        name: "scale",
        about: "what ten thousand endpoints cost, with optimisation",
        run: |args| no_arguments(args).and_then(|()| build::scale()),
    },
    Command {
        name: "kills",
        about: "servers killed under load, 100 times or as often as is said (`kills 5`); no call fails",
        run: build::kills,
    },
    Command {
        name: "quickstart",
        about: "the main job on real servers, one killed and one frozen",
        run: |args| no_arguments(args).and_then(|()| build::quickstart()),
    },
    Command {
        name: "picture",
        about: "draws docs/images/quickstart.svg from a run of the quick start, or from `picture SAMPLES`",
        run: picture::command,
    },
];

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let Some(name) = args.next() else {
        println!("cargo xtask COMMAND\n\n{}", table());
        return ExitCode::SUCCESS;
    };
    let Some(command) = COMMANDS.iter().find(|command| command.name == name) else {
        eprintln!("error: there is no command `{name}`; these exist:\n\n{}", table());
        return ExitCode::FAILURE;
    };
    match (command.run)(&args.collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        // What has said everything itself leaves nothing to add.
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
