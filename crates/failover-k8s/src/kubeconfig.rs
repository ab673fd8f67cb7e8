//! Finds and reads kubeconfig files as kubectl does, with errors that name the file, the context and
//! what exists instead.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use failover_core::{Error, ErrorKind};
use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError, NamedContext};

use crate::error;

/// The longest list of names in a message.
const SHOWN: usize = 16;
/// kube takes a missing proxy from the environment; a stated one it leaves as it is.
const NO_PROXY: &str = "http://no-proxy.invalid";

/// The files of a kubeconfig, and which of its contexts is used.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) files: Vec<PathBuf>,
    pub(crate) context: Option<String>,
    /// Whether `files` are a list of which some may be missing.
    is_list: bool,
}

impl Source {
    pub(crate) fn file(file: &Path, context: Option<&str>) -> Self {
        Self { files: vec![file.to_owned()], context: context.map(str::to_owned), is_list: false }
    }

    /// Returns the kubeconfig that the environment names: the files in `KUBECONFIG`, or
    /// `~/.kube/config` if it exists. Returns `None` if there is none.
    pub(crate) fn find(list: Option<&OsStr>, home: Option<&Path>) -> Option<Self> {
        let files: Vec<_> = list.map(std::env::split_paths).into_iter().flatten().collect();
        let files: Vec<_> = files.into_iter().filter(|file| !file.as_os_str().is_empty()).collect();
        if !files.is_empty() {
            return Some(Self { files, context: None, is_list: true });
        }
        let file = home?.join(".kube").join("config");
        // One that exists and cannot be read is an error later.
        let is_missing = file.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        (!is_missing).then(|| Self::file(&file, None))
    }

    /// Names the files, as in messages.
    pub(crate) fn named(&self) -> String {
        let files: Vec<_> = self.files.iter().map(|file| file.display().to_string()).collect();
        format!("kubeconfig {}", files.join(":"))
    }

    /// Reads the files and returns kube's configuration for the context, with a text that names
    /// both.
    pub(crate) async fn read(&self) -> Result<(Config, String), Error> {
        let mut kubeconfig = self.merged()?;
        let name = self.context_name(&kubeconfig)?;
        let what = format!("{}, context {name}", self.named());
        check(&mut kubeconfig, &name, &what)?;
        let options = KubeConfigOptions { context: Some(name), ..KubeConfigOptions::default() };
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &options)
            .await
            .map_err(|error| error::of_kubeconfig(&what, &error))?;
        if config.proxy_url.as_ref().is_some_and(|proxy| proxy.host() == Some("no-proxy.invalid")) {
            config.proxy_url = None;
        }
        Ok((config, what))
    }

    /// Reads the files; of several that name the same thing, the first one counts.
    fn merged(&self) -> Result<Kubeconfig, Error> {
        let mut all: Option<Kubeconfig> = None;
        for file in &self.files {
            let what = format!("kubeconfig {}", file.display());
            let next = match Kubeconfig::read_from(file) {
                Ok(next) => next,
                Err(KubeconfigError::ReadConfig(error, _))
                    if self.is_list && error.kind() == io::ErrorKind::NotFound =>
                {
                    continue;
                }
                Err(error) => return Err(error::of_kubeconfig(&what, &error)),
            };
            all = Some(match all {
                None => next,
                Some(before) => before.merge(next).map_err(|error| error::of_kubeconfig(&what, &error))?,
            });
        }
        all.ok_or_else(|| {
            invalid(&format!(
                "{}: KUBECONFIG names no file that exists; correct it, or unset it to use ~/.kube/config or, in a pod, \
                 the service account",
                self.named()
            ))
        })
    }

    fn context_name(&self, kubeconfig: &Kubeconfig) -> Result<String, Error> {
        let current = kubeconfig.current_context.as_deref();
        let name = self.context.as_deref().or(current).filter(|name| !name.is_empty());
        let all = names(kubeconfig.contexts.iter().map(|context| &context.name));
        let what = self.named();
        let Some(name) = name else {
            return Err(invalid(&format!(
                "{what} sets no current-context; set one, or name it with KubernetesProviderBuilder::kubeconfig; its \
                 contexts are: {all}"
            )));
        };
        if kubeconfig.contexts.iter().any(|context| context.name == name && context.context.is_some()) {
            return Ok(name.to_owned());
        }
        Err(invalid(&format!("{what} has no context {name:?}; its contexts are: {all}")))
    }
}

/// Checks that the cluster and the user of a context exist, and fills in what kubectl does.
fn check(kubeconfig: &mut Kubeconfig, name: &str, what: &str) -> Result<(), Error> {
    let named = |context: &&mut NamedContext| context.name == name;
    let Some(context) = kubeconfig.contexts.iter_mut().find(named).and_then(|named| named.context.as_mut())
    else {
        return Ok(());
    };
    // An empty namespace is none.
    context.namespace = context.namespace.take().filter(|namespace| !namespace.is_empty());
    let user = context.user.as_deref().filter(|user| !user.is_empty());
    if let Some(user) = user
        && !kubeconfig.auth_infos.iter().any(|known| known.name == user)
    {
        let all = names(kubeconfig.auth_infos.iter().map(|known| &known.name));
        return Err(invalid(&format!("{what}: there is no user {user:?}; its users are: {all}")));
    }
    let clusters = &mut kubeconfig.clusters;
    let cluster = clusters.iter_mut().find(|known| known.name == context.cluster);
    let Some(cluster) = cluster.and_then(|named| named.cluster.as_mut()) else {
        let all = names(kubeconfig.clusters.iter().map(|known| &known.name));
        let message = format!("{what}: there is no cluster {:?}; its clusters are: {all}", context.cluster);
        return Err(invalid(&message));
    };
    // A proxy in the environment is meant for web traffic.
    cluster.proxy_url =
        cluster.proxy_url.take().filter(|url| !url.is_empty()).or_else(|| Some(NO_PROXY.into()));
    Ok(())
}

fn names<'a>(all: impl Iterator<Item = &'a String>) -> String {
    let all: Vec<String> =
        all.take(SHOWN).map(|name| name.chars().filter(|c| !c.is_control()).take(100).collect()).collect();
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}

fn invalid(message: &str) -> Error {
    Error::new(ErrorKind::Validation, message)
}

#[cfg(test)]
mod tests {
    use failover_testkit::TempDir;

    use super::*;

    fn cluster(name: &str, port: u16) -> String {
        format!(
            "clusters: [{{name: {name}, cluster: {{server: \"https://127.0.0.1:{port}\"}}}}]\nusers: [{{name: {name}, \
             user: {{token: t}}}}]\ncontexts: [{{name: {name}, context: {{cluster: {name}, user: {name}, namespace: \
             \"\"}}}}]\n"
        )
    }

    fn file(directory: &TempDir, name: &str, text: &str) -> PathBuf {
        let file = directory.path().join(name);
        std::fs::write(&file, text).expect("writes");
        file
    }

    async fn fails(source: &Source) -> String {
        let error = source.read().await.expect_err("it cannot be used");
        assert_eq!(error.kind(), ErrorKind::Validation, "{error}");
        error.to_string()
    }

    #[tokio::test]
    async fn a_list_is_merged_and_missing_files_are_skipped() {
        let directory = TempDir::new().expect("a directory");
        let one = file(&directory, "one", &cluster("one", 1));
        let two = file(&directory, "two", &format!("current-context: two\n{}", cluster("two", 2)));
        let missing = directory.path().join("missing");
        let list = std::env::join_paths([&missing, &one, &PathBuf::new(), &two]).expect("a list");
        let source = Source::find(Some(&list), None).expect("it names files");
        let (config, what) = source.read().await.expect("reads");
        assert_eq!(config.cluster_url.port_u16(), Some(2), "{what}");
        assert_eq!(config.default_namespace, "default", "an empty namespace is none");
        assert_eq!(config.proxy_url, None);
        assert!(what.contains("two, context two"), "{what}");
        // The first file that sets a value wins.
        let other = file(&directory, "other", &format!("current-context: one\n{}", cluster("one", 3)));
        let list = std::env::join_paths([&one, &other, &two]).expect("a list");
        let (config, _) = Source::find(Some(&list), None).expect("files").read().await.expect("reads");
        assert_eq!(config.cluster_url.port_u16(), Some(1));
    }

    #[tokio::test]
    async fn a_mistyped_path_is_named_and_nothing_else_is_used() {
        let directory = TempDir::new().expect("a directory");
        let home = directory.path();
        std::fs::create_dir(home.join(".kube")).expect("creates");
        let default =
            file(&directory, ".kube/config", &format!("current-context: one\n{}", cluster("one", 1)));
        let mistyped = home.join("konfig");
        let source = Source::find(Some(mistyped.as_os_str()), Some(home)).expect("it is named");
        let text = fails(&source).await;
        assert!(text.contains("konfig") && text.contains("KUBECONFIG"), "{text}");
        for empty in [None, Some(OsStr::new("")), Some(OsStr::new(":"))] {
            assert_eq!(
                Source::find(empty, Some(home)).expect("the default").files,
                std::slice::from_ref(&default)
            );
        }
        assert!(Source::find(None, Some(&home.join("elsewhere"))).is_none());
        let explicit = Source::file(&mistyped, None);
        assert!(fails(&explicit).await.contains("konfig"));
    }

    #[tokio::test]
    async fn what_is_missing_is_named_with_what_there_is() {
        let directory = TempDir::new().expect("a directory");
        let base = cluster("one", 1);
        let broken = |from: &str, to: &str| format!("current-context: one\n{}", base.replacen(from, to, 1));
        for (text, context, said) in [
            (base.clone(), None, "contexts are: one"),
            (base.clone(), Some("prod"), "no context \"prod\""),
            (format!("current-context: \"\"\n{base}"), None, "no current-context"),
            (broken("context: {cluster: one", "context: {cluster: two"), None, "no cluster \"two\""),
            (broken("user: one", "user: two"), None, "no user \"two\"; its users are: one"),
            (broken("server: \"https://127.0.0.1:1\"", "certificate-authority: x"), None, "server"),
            (String::new(), None, "contexts are: none"),
            ("a: [".to_owned(), None, "not YAML"),
        ] {
            let file = file(&directory, "config", &text);
            let text = fails(&Source::file(&file, context)).await;
            assert!(text.contains(said) && text.contains(&*file.to_string_lossy()), "{said}: {text}");
        }
        let file =
            file(&directory, "config", &broken("server:", "certificate-authority: nowhere/ca.crt, server:"));
        let text = fails(&Source::file(&file, None)).await;
        assert!(text.contains("nowhere/ca.crt") && text.contains("context one"), "{text}");
    }
}
