//! The providers of `docs/writing-a-provider.md` keep the contract, and the guide shows them as they are.

mod polled;
mod pushed;
mod server;
mod writable;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use failover_conformance::Subject;
use failover_core::provider::Provider;
use failover_core::{Endpoint, Error, async_trait};

use polled::Lists;
use pushed::Pushes;
use server::Registry;
use writable::Shelf;

/// A directory that is moved away in an outage.
struct Directory {
    _parent: tempfile::TempDir,
    path: PathBuf,
    make: fn(&Path) -> Arc<dyn Provider>,
}

impl Directory {
    fn of(make: fn(&Path) -> Arc<dyn Provider>) -> Self {
        let parent = tempfile::tempdir().expect("a directory");
        let path = parent.path().join("endpoints");
        fs::create_dir(&path).expect("a directory");
        Self { _parent: parent, path, make }
    }

    /// Writes the list of a service again, with an endpoint or without it.
    fn change(&self, endpoint: &Endpoint, add: bool) {
        let file = self.path.join(format!("{}.txt", endpoint.service()));
        let text = fs::read_to_string(&file).unwrap_or_default();
        let place = endpoint.authority();
        let mut lines: BTreeSet<_> = text.lines().collect();
        if add {
            lines.insert(&place);
        } else {
            lines.remove(&*place);
        }
        let text = lines.into_iter().flat_map(|line| [line, "\n"]).collect::<String>();
        let new = file.with_extension("new");
        fs::write(&new, text).expect("it is written");
        fs::rename(new, file).expect("it is renamed");
    }
}

#[async_trait]
impl Subject for Directory {
    async fn provider(&self) -> Result<Arc<dyn Provider>, Error> {
        let provider = (self.make)(&self.path);
        provider.connect().await.map(|()| provider)
    }

    async fn unconnected(&self) -> Result<Option<Arc<dyn Provider>>, Error> {
        Ok(Some((self.make)(&self.path)))
    }

    async fn write(&self, provider: &dyn Provider, endpoint: &Endpoint) -> Result<bool, Error> {
        match provider.registry() {
            Some(registry) => registry.register(endpoint).await?,
            None => self.change(endpoint, true),
        }
        Ok(true)
    }

    async fn remove(&self, provider: &dyn Provider, endpoint: &Endpoint) -> Result<bool, Error> {
        match provider.registry() {
            Some(registry) => drop(registry.deregister(endpoint.service(), endpoint.id()).await?),
            None => self.change(endpoint, false),
        }
        Ok(true)
    }

    async fn outage(&self, begins: bool) -> bool {
        let away = self.path.with_extension("away");
        let (from, to) = if begins { (&self.path, &away) } else { (&away, &self.path) };
        // It is there already if no outage has begun.
        let _ = fs::rename(from, to);
        true
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_polled_one_keeps_the_contract() {
    let lists = Directory::of(|path| Arc::new(Lists::new(path)));
    let report = failover_conformance::run(&lists).await;
    println!("{report}");
    report.assert_covers([1, 2, 3, 11, 30, 34, 35, 50, 52]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_writable_one_keeps_the_contract() {
    let shelf = Directory::of(|path| Arc::new(Shelf::new(path)));
    let report = failover_conformance::run(&shelf).await;
    println!("{report}");
    report.assert_covers((1..=15).chain([30, 34, 35, 50, 52]));
}

struct Pushed(Registry);

#[async_trait]
impl Subject for Pushed {
    async fn provider(&self) -> Result<Arc<dyn Provider>, Error> {
        let provider = Pushes::new(self.0.address());
        provider.connect().await.map(|()| Arc::new(provider) as _)
    }

    async fn unconnected(&self) -> Result<Option<Arc<dyn Provider>>, Error> {
        Ok(Some(Arc::new(Pushes::new(self.0.address()))))
    }

    async fn write(&self, _: &dyn Provider, endpoint: &Endpoint) -> Result<bool, Error> {
        self.0.change(endpoint, true);
        Ok(true)
    }

    async fn remove(&self, _: &dyn Provider, endpoint: &Endpoint) -> Result<bool, Error> {
        self.0.change(endpoint, false);
        Ok(true)
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(10)
    }

    async fn outage(&self, begins: bool) -> bool {
        self.0.outage(begins).await;
        true
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pushed_one_keeps_the_contract() {
    let report = failover_conformance::run(&Pushed(Registry::start().await)).await;
    println!("{report}");
    report.assert_covers([1, 2, 3, 11, 20, 21, 22, 23, 30, 31, 34, 35, 50, 52]);
}

#[test]
fn the_guide_shows_what_is_tested() {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let code = |file: &str| {
        let lines = file.lines().filter(|line| !line.starts_with("//!"));
        words(&lines.collect::<Vec<_>>().join("\n")).replace("pub(super) ", "")
    };
    let mut files =
        [include_str!("polled.rs"), include_str!("pushed.rs"), include_str!("writable.rs")].map(code);
    let guide = include_str!("../../docs/writing-a-provider.md");
    let blocks = guide.split("```rust\n").skip(1).filter_map(|rest| rest.split("```").next());
    for (block, file) in blocks.zip(&mut files) {
        let is_hidden = |line: &&str| line.starts_with("# ") || *line == "#";
        let visible = block.lines().filter(|line| !is_hidden(line)).count();
        assert!(visible <= 40, "{visible} lines of it are too many to read");
        let whole: Vec<_> = block.lines().map(|line| line.strip_prefix("# ").unwrap_or(line)).collect();
        // What follows runs it.
        let whole = whole.join("\n");
        let provider = whole.split("#[tokio::main").next().unwrap_or_default();
        assert_eq!(words(provider), std::mem::take(file));
    }
    assert_eq!(files, [""; 3], "the guide shows each");
}
