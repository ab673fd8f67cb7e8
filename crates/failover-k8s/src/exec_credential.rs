//! Credentials plugins: the `exec` section of a kubeconfig.
//!
//! kube would run a plugin on the runtime's thread, three times per client, and again for each
//! request dropped while it ran.

use std::io::{self, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use failover_core::{Error, ErrorKind};
use failover_provider_kit::Deadline;
use http::HeaderValue;
use k8s_openapi::jiff::Timestamp;
use kube::config::{ExecConfig, ExecInteractiveMode, Kubeconfig};
use serde_json::{Value, json};
use tokio::sync::{OwnedMutexGuard, oneshot};

/// The maximum length of a plugin's output.
const MAX_PRINTED: u64 = 1024 * 1024;
/// Interval at which a plugin that has closed its output is checked for exit.
const LOOK: Duration = Duration::from_millis(5);

/// The output of a plugin.
pub(crate) struct Printed {
    pub(crate) token: Option<String>,
    /// A certificate and its key, PEM.
    pub(crate) identity: Option<(String, String)>,
    /// Their expiry, by the issuer's clock.
    pub(crate) ends: Option<Timestamp>,
}

/// Runs plugins, one at a time. The next one waits until the plugin has exited and its output is
/// closed, even if a child process holds that open.
#[derive(Clone, Debug, Default)]
pub(crate) struct ExecCredential(Arc<tokio::sync::Mutex<()>>);

impl ExecCredential {
    /// Runs a plugin. Kills it if the future is dropped or the deadline passes.
    pub(crate) async fn run(&self, exec: &ExecConfig, deadline: &Deadline) -> Result<Printed, Error> {
        let name = exec.command.as_deref().unwrap_or_default();
        let what = format!("run the credentials plugin {name}");
        let command = command(exec, &what)?;
        let late = |why: &str| Error::new(ErrorKind::Timeout, format!("{what}: {why}"));
        let Some(turn) = deadline.run(Arc::clone(&self.0).lock_owned()).await else {
            return Err(late("one that was started before has not ended; end it"));
        };
        let (_running, ended) = Running::start(command, turn);
        let Some(ended) = deadline.run(ended).await else {
            return Err(late(&format!(
                "it gave no credentials in {:?} and was ended; run it by hand to see why, or give it more time with \
                 KubernetesProviderBuilder::deadline",
                deadline.limit()
            )));
        };
        let ended =
            ended.map_err(|_| Error::new(ErrorKind::Internal, format!("{what}: no thread can be had")))?;
        let (status, printed) = ended.map_err(|error| {
            let hint: String = exec.install_hint.iter().flat_map(|hint| hint.chars().take(200)).collect();
            let space = if hint.is_empty() { "" } else { "; " };
            refused(&what, &format!("it cannot be started: {error}{space}{hint}"))
        })?;
        if !status.success() {
            return Err(refused(&what, &format!("it ended with {status}; run it by hand to see why")));
        }
        let mut printed = read(&printed).ok_or_else(|| {
            refused(&what, "what it printed is no ExecCredential with a token or a certificate")
        })?;
        printed.token = printed.token.map(|token| token.trim().to_owned());
        if printed.token.as_deref().is_some_and(|token| HeaderValue::from_str(token).is_err()) {
            return Err(refused(
                &what,
                "the token that it printed does not fit into a header; it is not shown",
            ));
        }
        Ok(printed)
    }
}

/// Returns an error without the plugin's output, which may be the token.
fn refused(what: &str, why: &str) -> Error {
    Error::no_credentials(what, why)
}

fn command(exec: &ExecConfig, what: &str) -> Result<Command, Error> {
    let invalid = |why: &str| Error::new(ErrorKind::Validation, format!("kubeconfig: {what}: {why}"));
    let Some(name) = exec.command.as_deref().filter(|name| !name.is_empty()) else {
        return Err(invalid("exec names no command"));
    };
    let mut command = Command::new(name);
    command.args(exec.args.iter().flatten());
    for variable in exec.env.iter().flatten() {
        if let (Some(name), Some(value)) = (variable.get("name"), variable.get("value")) {
            command.env(name, value);
        }
    }
    let interactive = exec.interactive_mode != Some(ExecInteractiveMode::Never);
    let mut spec = json!({"interactive": interactive});
    if exec.provide_cluster_info {
        let cluster = exec.cluster.as_ref().and_then(|cluster| serde_json::to_value(cluster).ok());
        spec["cluster"] =
            cluster.ok_or_else(|| invalid("it wants to know the cluster, which is not named"))?;
    }
    let info = json!({"kind": "ExecCredential", "apiVersion": exec.api_version, "spec": spec});
    command.env("KUBERNETES_EXEC_INFO", info.to_string());
    for name in exec.drop_env.iter().flatten() {
        command.env_remove(name);
    }
    let own = || if interactive { Stdio::inherit() } else { Stdio::null() };
    command.stdin(own()).stderr(own()).stdout(Stdio::piped());
    Ok(command)
}

/// Parses the output as JSON, or as YAML, which some plugins print.
fn read(printed: &[u8]) -> Option<Printed> {
    let text = std::str::from_utf8(printed).ok()?;
    let status = match serde_json::from_str::<Value>(text) {
        Ok(mut all) => all.get_mut("status")?.take(),
        // `Kubeconfig` keeps unknown fields.
        Err(_) => Kubeconfig::from_yaml(text).ok()?.other.remove("status")?,
    };
    let text = |key: &str| status.get(key).and_then(Value::as_str).map(str::to_owned);
    let ends = match text("expirationTimestamp") {
        Some(ends) => Some(ends.parse().ok()?),
        None => None,
    };
    let identity = text("clientCertificateData").zip(text("clientKeyData"));
    let token = text("token").filter(|token| !token.trim().is_empty());
    (token.is_some() || identity.is_some()).then_some(Printed { token, identity, ends })
}

type Ended = io::Result<(ExitStatus, Vec<u8>)>;

/// A running plugin; dropping this kills it.
struct Running(Arc<Mutex<Slot>>);

#[derive(Default)]
struct Slot {
    child: Option<Child>,
    given_up: bool,
}

impl Running {
    fn start(mut command: Command, turn: OwnedMutexGuard<()>) -> (Self, oneshot::Receiver<Ended>) {
        let place = Arc::new(Mutex::new(Slot::default()));
        let (sender, result) = oneshot::channel();
        let shared = Arc::clone(&place);
        // If the thread cannot be spawned, the channel is closed.
        let _ = thread::Builder::new().name("failover-k8s".to_owned()).spawn(move || {
            let ended = wait(&mut command, &shared);
            // Only now may another plugin start.
            drop(turn);
            let _ = sender.send(ended);
        });
        (Self(place), result)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut place = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        place.given_up = true;
        if let Some(child) = &mut place.child {
            let _ = child.kill();
        }
    }
}

/// Starts a program and waits for it, on a dedicated thread.
fn wait(command: &mut Command, place: &Mutex<Slot>) -> Ended {
    let lock = || place.lock().unwrap_or_else(PoisonError::into_inner);
    let mut child = command.spawn()?;
    let output = child.stdout.take();
    {
        let mut place = lock();
        if place.given_up {
            let _ = child.kill();
        }
        place.child = Some(child);
    }
    let mut printed = Vec::new();
    let read = output.map_or(Ok(0), |output| output.take(MAX_PRINTED).read_to_end(&mut printed));
    loop {
        if let Some(child) = &mut lock().child {
            if read.is_err() || printed.len() as u64 >= MAX_PRINTED {
                // It may block forever on a full pipe.
                let _ = child.kill();
            }
            if let Some(status) = child.try_wait()? {
                return read.map(|_| (status, printed));
            }
        }
        #[allow(clippy::disallowed_methods, reason = "it is a thread of its own, not the runtime's")]
        thread::sleep(LOOK);
    }
}

#[cfg(test)]
mod tests {
    use failover_provider_kit::Timing;

    use super::*;

    fn exec(script: &str) -> ExecConfig {
        ExecConfig {
            command: Some("sh".into()),
            args: Some(vec!["-c".into(), script.into()]),
            interactive_mode: Some(ExecInteractiveMode::Never),
            ..ExecConfig::default()
        }
    }

    fn within(limit: Duration) -> Deadline {
        Deadline::after(&Timing::tokio(), limit)
    }

    fn soon() -> Deadline {
        within(Duration::from_secs(10))
    }

    #[tokio::test]
    async fn what_it_prints_is_read_and_what_it_asks_for_is_provided() {
        let mut wants = exec(
            r#"printf '{"status":{"token":"%s %s","expirationTimestamp":"2026-11-24T12:00:00Z"}}' "$A" "$(echo "$KUBERNETES_EXEC_INFO" | tr -d '"')""#,
        );
        wants.env = Some(vec![[("name".into(), "A".into()), ("value".into(), "b".into())].into()]);
        wants.api_version = Some("client.authentication.k8s.io/v1".into());
        let printed = ExecCredential::default().run(&wants, &soon()).await.expect("it prints a token");
        let token = printed.token.expect("a token");
        assert!(token.starts_with("b {") && token.contains("kind:ExecCredential"), "{token}");
        assert!(token.contains("interactive:false") && token.contains("client.authentication"), "{token}");
        assert_eq!(printed.ends.expect("an end").to_string(), "2026-11-24T12:00:00Z");
        let yaml = exec(
            "printf 'apiVersion: v1\\nkind: ExecCredential\\nstatus:\\n  clientCertificateData: c\\n  clientKeyData: k\\n'",
        );
        let printed = ExecCredential::default().run(&yaml, &soon()).await.expect("it prints a certificate");
        assert_eq!(printed.identity, Some(("c".into(), "k".into())));
    }

    #[tokio::test]
    async fn what_is_wrong_with_it_is_reported_without_what_it_printed() {
        for (script, word) in [
            ("echo hunter2; exit 3", "exit status: 3"),
            ("echo hunter2", "no ExecCredential"),
            ("echo '{\"status\":{\"hunter2\":1}}'", "no ExecCredential"),
            (
                "echo '{\"status\":{\"token\":\"hunter2\",\"expirationTimestamp\":\"soon\"}}'",
                "no ExecCredential",
            ),
            ("printf '\\377\\376hunter2'", "no ExecCredential"),
            (r#"printf '%s' '{"status":{"token":"hunter2\nX-Evil: 1"}}'"#, "not shown"),
            // Output above the maximum is not read further.
            ("exec yes hunter2", "signal"),
        ] {
            let error = ExecCredential::default().run(&exec(script), &soon()).await.err().expect(script);
            assert_eq!((error.kind(), error.code()), (ErrorKind::Permission, "UNAUTHENTICATED"), "{error}");
            assert!(
                error.to_string().contains(word) && !format!("{error:?}").contains("hunter2"),
                "{error:?}"
            );
        }
        let mut missing = exec("");
        missing.command = Some("no-such-plugin".into());
        missing.install_hint = Some("install it".into());
        let error = ExecCredential::default().run(&missing, &soon()).await.err().expect("it is not there");
        assert!(
            error.to_string().contains("no-such-plugin") && error.to_string().contains("install it"),
            "{error}"
        );
        missing.command = None;
        let error = ExecCredential::default().run(&missing, &soon()).await.err().expect("none is named");
        assert_eq!(error.kind(), ErrorKind::Validation, "{error}");
    }

    /// A killed plugin's children keep running; while they hold its output open, no other plugin
    /// starts.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn one_that_hangs_is_ended_and_there_is_one_at_a_time() {
        let directory = failover_testkit::TempDir::new().expect("a directory");
        let runs = directory.path().join("runs");
        let count = || std::fs::read_to_string(&runs).unwrap_or_default().lines().count();
        let plugin = ExecCredential::default();
        let late = || within(Duration::from_millis(300));
        let alone = exec(&format!("echo $$ >> {}; exec sleep 600", runs.display()));
        for number in 1..=3 {
            let error = plugin.run(&alone, &late()).await.err().expect("it hangs");
            assert_eq!(error.kind(), ErrorKind::Timeout);
            assert!(
                error.to_string().contains("plugin sh") && error.to_string().contains("300ms"),
                "{error}"
            );
            assert_eq!(count(), number);
        }
        let all = std::fs::read_to_string(&runs).expect("it ran");
        let runs_still = |id: &str| std::path::Path::new(&format!("/proc/{id}")).exists();
        failover_testkit::until(Duration::from_secs(5), "all of them have ended", async || {
            !all.lines().any(runs_still)
        })
        .await;
        let with_child = exec(&format!("echo $$ >> {}; sleep 2; echo", runs.display()));
        for _ in 0..3 {
            plugin.run(&with_child, &late()).await.err().expect("it hangs");
        }
        assert_eq!(count(), 4, "the child of the first holds its output");
        let printed = plugin.run(&exec("echo '{\"status\":{\"token\":\"a\"}}'"), &soon()).await;
        assert_eq!(printed.expect("its turn comes").token.as_deref(), Some("a"));
    }
}
