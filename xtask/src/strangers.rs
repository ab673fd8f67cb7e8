//! Programs of somebody else's: outside of the workspace, with the dependency lines of the READMEs, built and run.

use crate::cargo::{self, cargo};

/// With both of rustls' providers of cryptography in its tree, and no default: no panic. The one for Consul wants an agent:
/// `CONSUL_HTTP_ADDR=… cargo run --manifest-path crates/failover-consul/tests/stranger/Cargo.toml`.
const KUBERNETES: &str = "crates/failover-k8s/tests/stranger/Cargo.toml";

pub(crate) fn run() -> Result<(), String> {
    let root = cargo::root().canonicalize().map_err(|error| error.to_string())?;
    let mut command = cargo(["run", "--manifest-path"]);
    command.arg(root.join(KUBERNETES)).env("CARGO_TARGET_DIR", root.join("target/strangers"));
    // From elsewhere: the workspace's own settings, which choose a version of Kubernetes, do not count there.
    command.current_dir(std::env::temp_dir()).env_remove("K8S_OPENAPI_ENABLED_VERSION");
    cargo::run(command)
}
