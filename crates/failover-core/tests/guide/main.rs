//! The providers of `docs/writing-a-provider.md` keep the contract, and the guide shows them as they are.

mod directory;
mod polled;
mod pushed;
mod server;
mod writable;

use std::sync::Arc;

use directory::Directory;
use failover_conformance::{Level, Report};
use polled::Lists;
use server::Registry;
use writable::Shelf;

fn assert_levels(report: &Report, levels: impl IntoIterator<Item = Level>) {
    for level in levels {
        report.assert_level(level);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_polled_one_keeps_the_contract() {
    let lists = Directory::of(|path| Arc::new(Lists::new(path)));
    let report = failover_conformance::run(&lists).await;
    println!("{report}");
    assert_levels(&report, [Level::Read, Level::Survive]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_writable_one_keeps_the_contract() {
    let shelf = Directory::of(|path| Arc::new(Shelf::new(path)));
    let report = failover_conformance::run(&shelf).await;
    println!("{report}");
    assert_levels(&report, [Level::Read, Level::Write, Level::Survive]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pushed_one_keeps_the_contract() {
    let report = failover_conformance::run(&Registry::start().await).await;
    println!("{report}");
    assert_levels(&report, [Level::Read, Level::Watch, Level::Survive]);
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
        let (shown, tested) = (words(provider), std::mem::take(file));
        let same = shown.bytes().zip(tested.bytes()).take_while(|(one, other)| one == other).count();
        assert!(shown == tested, "they differ after: {}", String::from_utf8_lossy(&shown.as_bytes()[..same]));
    }
    assert!(files.iter().all(String::is_empty), "the guide shows each");
}
