use super::graph::Graph;

fn graph(files: &[(&str, &str)]) -> Graph {
    let sources = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
    Graph::read(sources.collect()).expect("it parses")
}

fn order(folders: &str) -> Vec<String> {
    folders.split(' ').map(str::to_owned).collect()
}

#[test]
fn an_import_from_a_later_folder_is_named_and_one_from_an_earlier_is_not() {
    let graph = graph(&[
        ("lib.rs", "mod model; mod engine;"),
        ("model.rs", "pub mod id;"),
        ("model/id.rs", "use crate::engine::pick::Pick;"),
        ("engine.rs", "pub mod pick;"),
        ("engine/pick.rs", "pub struct Pick;"),
    ]);
    let expected = ["model/id.rs imports from engine/pick.rs, a later folder"];
    assert_eq!(graph.against(&order("model engine")), expected);
    assert_eq!(graph.against(&order("engine model")), Vec::<String>::new());
    assert_eq!(graph.against(&order("engine")).len(), 2, "files of an unnamed folder are faults");
}

#[test]
fn files_that_import_each_other_are_a_cycle_however_they_name_each_other() {
    for import in [
        "use crate::b::B;",
        "use super::b::{B, C};",
        "use crate::{b::B, c};",
        "fn f(_: crate::b::B) {}",
        "fn f() { println!(\"{}\", crate::b::B::N); }",
        "mod inner { use super::super::b::B; }",
    ] {
        let graph = graph(&[
            ("lib.rs", "mod a; mod b; mod c;"),
            ("a.rs", import),
            ("b.rs", "use crate::a;"),
            ("c.rs", ""),
        ]);
        assert_eq!(graph.cycles(), ["a.rs -> b.rs -> a.rs"], "{import}");
    }
}

#[test]
fn a_parent_that_uses_its_child_and_is_used_by_it_is_a_cycle_but_declaring_and_handing_on_are_not() {
    let child = ("a/b.rs", "use crate::a::A;");
    let uses = graph(&[("lib.rs", "mod a;"), ("a.rs", "mod b; use b::B; pub struct A;"), child]);
    assert_eq!(uses.cycles(), ["a.rs -> a/b.rs -> a.rs"]);
    let hands_on = graph(&[("lib.rs", "mod a;"), ("a.rs", "mod b; pub use b::B; pub struct A;"), child]);
    assert_eq!(hands_on.cycles(), Vec::<String>::new());
}

#[test]
fn an_import_of_a_reexported_name_counts_where_the_name_is_defined() {
    let graph = graph(&[
        ("lib.rs", "mod a; mod c;"),
        ("a.rs", "mod b; pub use b::{B as Renamed}; use crate::c::C;"),
        ("a/b.rs", "pub struct B;"),
        ("c.rs", "use crate::a::Renamed;"),
    ]);
    assert_eq!(graph.cycles(), Vec::<String>::new());
}

#[test]
fn tests_may_import_what_they_need_and_a_visibility_is_no_import() {
    let graph = graph(&[
        ("lib.rs", "mod a; mod b;"),
        (
            "a.rs",
            "pub(in crate::b) struct A; #[cfg(test)] mod tests { use crate::b::B; } #[cfg(test)] use crate::b;",
        ),
        ("a/tests.rs", "use crate::b::B;"),
        ("b.rs", "use crate::a::A;"),
    ]);
    assert_eq!(graph.cycles(), Vec::<String>::new());
}
