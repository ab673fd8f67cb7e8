use super::Tally;

fn tally(output: &str) -> Tally {
    let mut tally = Tally::default();
    output.lines().for_each(|line| tally.line(line));
    tally.end();
    tally
}

#[test]
fn sums_stand_over_several_programs_and_batches_of_doc_tests() {
    let tally = tally(
        "     Running unittests src/lib.rs (target/debug/deps/failover_core-0123)

running 3 tests
test error::a ... ok
test error::b - should panic ... ok
test error::c ... ignored, needs a server

test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 4 filtered out; finished in 0.00s

   Doc-tests failover_core

running 2 tests
test crates/failover-core/src/lib.rs - (line 3) ... ok
test crates/failover-core/src/lib.rs - (line 9) - compile ... ok

test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.20s


running 1 test
test crates/failover-core/src/lib.rs - (line 20) - compile fail ... ok

test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.20s
",
    );
    assert_eq!(tally.to_string(), "5 passed, 0 failed, 1 skipped");
    assert_eq!(tally.details(), "skipped: error::c: needs a server\n");
    assert!(tally.is_good());
}

#[test]
fn a_failure_is_named_with_its_program() {
    let tally = tally(
        "     Running tests/live.rs (target/debug/deps/live-0123)
running 2 tests
test a ... ok
test b ... FAILED
test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
    );
    assert_eq!(tally.to_string(), "1 passed, 1 failed, 0 skipped");
    assert_eq!(tally.details(), "failed: live: b\n");
    assert!(!tally.is_good());
}

#[test]
fn a_program_without_libtest_counts_by_its_last_line() {
    let tally = tally(
        "     Running tests/suite.rs (target/debug/deps/suite-0123)
skipped: consul::watch: no server
7 passed, 0 failed, 1 skipped",
    );
    assert_eq!(tally.to_string(), "7 passed, 0 failed, 1 skipped");
    assert_eq!(tally.details(), "skipped: consul::watch: no server\n");
    assert!(tally.is_good());
}

#[test]
fn an_early_return_moves_from_passed_to_skipped() {
    let mut tally = tally("test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out");
    tally.early_returns("skipped: live::watch: no server: set FAILOVER_SERVERS\n\nsomething else\n");
    assert_eq!(tally.to_string(), "1 passed, 0 failed, 2 skipped");
    assert_eq!(
        tally.details(),
        "skipped: live::watch: no server: set FAILOVER_SERVERS\nskipped: something else: no reason given\n"
    );
}

#[test]
fn skips_are_grouped_by_their_reason() {
    let mut tally = tally("test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out");
    tally.early_returns(
        "skipped: live::watch: no consul; run this\nskipped: pods: no etcd\nskipped: acl: no consul; run this\n",
    );
    assert_eq!(tally.to_string(), "0 passed, 0 failed, 3 skipped");
    assert_eq!(tally.details(), "skipped: 2 tests: no consul; run this\nskipped: pods: no etcd\n");
}

#[test]
fn a_skip_that_is_printed_and_written_is_listed_once() {
    let mut tally = tally(
        "skipped: live: no server
test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out",
    );
    tally.early_returns("skipped: live: no server\n");
    assert_eq!(tally.to_string(), "1 passed, 0 failed, 1 skipped");
    assert_eq!(tally.details(), "skipped: live: no server\n");
}

#[test]
fn an_ignored_test_without_a_reason_is_listed_too() {
    let tally = tally(
        "test slow ... ignored
test result: ok. 1 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out",
    );
    assert_eq!(tally.details(), "skipped: slow: no reason given\n");
}

#[test]
fn a_program_that_ends_without_a_sum_is_a_problem() {
    let tally = tally(
        "     Running tests/first.rs (target/debug/deps/first-0123)
running 2 tests
test a ... ok
     Running tests/second.rs (target/debug/deps/second-0123)
running 1 test
test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out
     Running tests/third.rs (target/debug/deps/third-0123)",
    );
    assert!(!tally.is_good());
    assert_eq!(
        tally.details(),
        "problem: first did not finish: it printed no sum
problem: third did not finish: it printed no sum
"
    );
}

#[test]
fn no_test_at_all_is_a_problem() {
    let tally = tally("test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 3 filtered out");
    assert!(!tally.is_good());
    assert_eq!(tally.details(), "problem: no test ran\n");
}

#[test]
fn lines_that_only_look_like_sums_count_nothing() {
    let tally = tally(
        "running commentary tests
1 passed, 2 failed
1 passed, 2 failed, 3 skipped, 4 more
x passed, 2 failed, 3 skipped
test result: unheard of
test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out",
    );
    assert_eq!(tally.to_string(), "1 passed, 0 failed, 0 skipped");
    assert!(tally.is_good());
}
