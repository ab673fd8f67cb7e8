//! Kubeconfigs as people have them, and what an error says about them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use failover_core::provider::Provider;
use failover_core::{Error, ErrorKind};
use failover_k8s::KubernetesProvider;
use failover_testkit::certificates::Authority;
use failover_testkit::{Process, TempDir, until};

use crate::harness::calm;

/// Returns a kubeconfig with one context, `dev`.
fn kubeconfig(cluster: &str, user: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: dev\nclusters: [{{name: dev, cluster: {{{cluster}}}}}]\nusers: \
         [{{name: dev, user: {{{user}}}}}]\ncontexts: [{{name: dev, context: {{cluster: dev, user: dev, namespace: \"\"}}}}]\n"
    )
}

fn write(directory: &TempDir, name: &str, text: &str) -> PathBuf {
    let file = directory.path().join(name);
    std::fs::write(&file, text).expect("writes");
    file
}

async fn build(file: &Path) -> Result<KubernetesProvider, Error> {
    KubernetesProvider::builder().kubeconfig(file, None).build().await
}

/// Not a test: connects by its environment, and says how that went.
#[tokio::test]
#[ignore = "the program of another process, which tests start"]
async fn a_process_that_connects() {
    if std::env::var("CHILD_CONNECTS").is_err() {
        return;
    }
    let connected = match KubernetesProvider::from_env().await {
        Ok(provider) => provider.connect().await.map(|()| format!("{provider:?}")),
        Err(error) => Err(error),
    };
    match connected {
        Ok(provider) => println!("RESULT connected {provider}"),
        Err(error) => println!("RESULT failed {error}"),
    }
}

/// Runs [`a_process_that_connects`] with these variables only.
async fn connects(directory: &TempDir, variables: &[(&str, &str)]) -> String {
    let log = directory.path().join("log");
    let _ = std::fs::remove_file(&log);
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command
        .args(["--exact", "kubeconfig::a_process_that_connects", "--ignored", "--nocapture"])
        .env("CHILD_CONNECTS", "1")
        .env("HOME", directory.path())
        .env_remove("KUBECONFIG")
        .envs(variables.iter().copied());
    let _process = Process::start(&command, &log).expect("starts");
    let result = || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        text.split_once("RESULT ").and_then(|(_, rest)| rest.lines().next().map(str::to_owned))
    };
    until(Duration::from_secs(20), "it has a result", async || result().is_some()).await;
    result().expect("it has")
}

/// `KUBECONFIG` is a list of which files may be missing; one that names no file is an error, and
/// neither another file nor the service account takes its place. Proxies in the environment are not
/// used.
#[tokio::test(flavor = "multi_thread")]
async fn kubeconfig_is_read_as_kubectl_does() {
    let Some(space) = calm().await else { return };
    let directory = TempDir::new().expect("a directory");
    let authority = space.plane.directory().join("ca.crt");
    let cluster =
        format!("server: \"{}\", certificate-authority: \"{}\"", space.plane.url(), authority.display());
    let user = format!("token: \"{}\"", space.plane.admin());
    let good = write(&directory, "good", &kubeconfig(&cluster, &user));
    std::fs::create_dir(directory.path().join(".kube")).expect("creates");
    let missing = directory.path().join("missing");
    let list = format!("{}::{}", missing.display(), good.display());
    let proxies = [("HTTPS_PROXY", "http://user:canary@no such proxy"), ("HTTP_PROXY", "http://127.0.0.1:1")];
    let mut variables = vec![("KUBECONFIG", list.as_str())];
    variables.extend(proxies);
    let result = connects(&directory, &variables).await;
    assert!(result.starts_with("connected ") && result.contains("namespace: \"default\""), "{result}");
    // The default file.
    std::fs::copy(&good, directory.path().join(".kube/config")).expect("copies");
    assert!(connects(&directory, &[]).await.starts_with("connected "));
    // A mistyped path, although there are the default file and what looks like a pod.
    let in_pod = [("KUBERNETES_SERVICE_HOST", "127.0.0.1"), ("KUBERNETES_SERVICE_PORT", "1")];
    let mistyped = missing.display().to_string();
    let mut variables = vec![("KUBECONFIG", mistyped.as_str())];
    variables.extend(in_pod);
    let result = connects(&directory, &variables).await;
    assert!(
        result.starts_with("failed ") && result.contains(&mistyped) && result.contains("KUBECONFIG"),
        "{result}"
    );
    // One that exists and is of no use is not passed over either.
    write(&directory, ".kube/config", "a: [");
    let result = connects(&directory, &in_pod).await;
    assert!(result.starts_with("failed ") && result.contains(".kube/config"), "{result}");
    std::fs::remove_dir_all(directory.path().join(".kube")).expect("removes");
    let result = connects(&directory, &[]).await;
    assert!(result.contains("no kubeconfig") && result.contains("service account"), "{result}");
}

/// A token with a line break would become a header of its own; a URL with a user would be shown in
/// errors.
#[tokio::test]
async fn credentials_that_cannot_be_used_are_refused_where_they_are_read() {
    let directory = TempDir::new().expect("a directory");
    let server = "server: \"https://127.0.0.1:1\"";
    let inline = kubeconfig(server, "token: \"canary\\nX-Evil: 1\"");
    let folded = kubeconfig(server, "username: a, password: \"canary\\nb\"");
    let provider = kubeconfig(server, "auth-provider: {name: oidc, config: {id-token: \"canary\\r\\nb\"}}");
    let with_user = kubeconfig("server: \"https://user:canary@127.0.0.1:1\"", "token: t");
    let with_query = kubeconfig("server: \"https://127.0.0.1:1/?token=canary\"", "token: t");
    for (text, said) in [
        (inline, "token"),
        (folded, "password"),
        (provider, "id-token"),
        (with_user, "a URL with a user"),
        (with_query, "a URL with a query"),
        (
            kubeconfig("server: \"https://127.0.0.1:1\", insecure-skip-tls-verify: true", "token: t"),
            "dangerous_accept_any_server",
        ),
        (kubeconfig("server: \"http://192.0.2.1\"", "token: t"), "dangerous_accept_any_server"),
    ] {
        let file = write(&directory, "config", &text);
        let error = build(&file).await.expect_err(said);
        assert_eq!(error.kind(), ErrorKind::Validation, "{error}");
        let text = error.to_string();
        for part in [said, &*file.to_string_lossy(), "context dev"] {
            assert!(text.contains(part), "{part} is missing: {text}");
        }
        assert!(!format!("{error:?}").contains("canary"), "{error:?}");
    }
    let token = write(&directory, "token", "canary\nX-Evil: 1");
    let builder =
        KubernetesProvider::builder().api_server("https://127.0.0.1:1", "", &token).namespace("shop");
    let error = builder.build().await.expect_err("a line break");
    assert!(!format!("{error:?}").contains("canary"), "{error:?}");
    let builder = KubernetesProvider::builder().api_server("https://user:canary@127.0.0.1:1", "", &token);
    let error = builder.namespace("shop").build().await.expect_err("a user");
    assert!(
        error.to_string().contains("a URL with a user") && !format!("{error:?}").contains("canary"),
        "{error:?}"
    );
    // A trailing line break is what an editor leaves.
    let file = write(&directory, "config", &kubeconfig(server, "token: \"abc\\n\""));
    build(&file).await.expect("builds");
}

/// The API server answers an expired certificate with a bare 401, and no credentials at all with the
/// rights of a stranger.
#[tokio::test]
async fn an_expired_certificate_and_missing_credentials_are_named_when_connecting() {
    let Some(space) = calm().await else { return };
    let directory = TempDir::new().expect("a directory");
    let authority = space.plane.directory().join("ca.crt");
    let cluster =
        format!("server: \"{}\", certificate-authority: \"{}\"", space.plane.url(), authority.display());
    let signed = Authority::new("clients").expired_client();
    let certificate = write(&directory, "client.crt", &signed.certificate);
    let key = write(&directory, "client.key", &signed.key);
    let user =
        format!("client-certificate: \"{}\", client-key: \"{}\"", certificate.display(), key.display());
    let file = write(&directory, "config", &kubeconfig(&cluster, &user));
    let error = build(&file).await.expect("builds").connect().await.expect_err("it has expired");
    assert_eq!((error.kind(), error.code()), (ErrorKind::Permission, "UNAUTHENTICATED"), "{error}");
    let text = error.to_string();
    for part in [
        "client certificate expired on 2001-01-01T00:00:00Z: ",
        &*file.to_string_lossy(),
        "context dev",
        &space.plane.url(),
    ] {
        assert!(text.contains(part), "{part} is missing: {text}");
    }
    for user in ["", "username: someone"] {
        let file = write(&directory, "config", &kubeconfig(&cluster, user));
        let error = build(&file).await.expect("builds").connect().await.expect_err("a stranger");
        assert_eq!((error.kind(), error.code()), (ErrorKind::Permission, "UNAUTHENTICATED"), "{error}");
        let text = error.to_string();
        for part in ["system:anonymous", &*file.to_string_lossy(), "context dev"] {
            assert!(text.contains(part), "{part} is missing: {text}");
        }
    }
    // Those of a service account are enough, without any right.
    space.provider().await.connect().await.expect("connects");
}
