//! Faults of a registry, each with its number in the fault matrix, in virtual time.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use failover_core::config::EmptyPolicy;
use failover_core::events::EventKind;
use failover_core::provider::{EndpointEntry, EndpointSet, Provider, ProviderInfo, Query, Revision};
use failover_core::{
    Clock, Endpoint, Error, ErrorKind, FailoverConfig, FailoverManager, NoEndpointsReason, Random,
    ServiceHandle, async_trait,
};
use failover_memory::MemoryProvider;
use failover_test::{Script, ScriptedProvider, Step};
use proptest::prelude::*;
use tokio::time::{Instant, sleep};

use crate::{down, emitted, endpoint, endpoint_of, named, picked, until, virtual_manager};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
/// The longest pause between two requests to a registry that is down.
const CAP: Duration = Duration::from_secs(30);

async fn known(scripted: (ScriptedProvider, Script)) -> (FailoverManager, ServiceHandle, Script) {
    let (provider, script) = scripted;
    script.endpoints([endpoint("users-1", 1), endpoint("users-2", 2)]);
    let manager = virtual_manager(provider).build().await.expect("builds");
    let service = manager.service("users").await.expect("a handle");
    until("the first answer", SECOND, || named(&service).len() == 2).await;
    (manager, service, script)
}

fn both() -> [(ScriptedProvider, Script); 2] {
    [ScriptedProvider::watching(), ScriptedProvider::polled()]
}

#[tokio::test(start_paused = true)]
async fn r1_a_registry_that_is_down_at_the_start_costs_start_timeout_and_is_asked_with_patience() {
    for (provider, script) in both() {
        script.unreachable(down("connection refused"));
        script.fail(down("connection refused"));
        let begun = Instant::now();
        let manager = virtual_manager(provider).build().await.expect("builds all the same");
        let service = manager.service("users").await.expect("a handle all the same");
        assert!(begun.elapsed() <= 11 * SECOND, "{:?}", begun.elapsed());

        let begun = Instant::now();
        let none = service.select().expect_err("nothing is known");
        assert_eq!(begun.elapsed(), Duration::ZERO);
        assert_eq!(none.reason(), NoEndpointsReason::NotYetKnown);
        let error = none.source_error().expect("what the registry said");
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Connection, "connection refused"));

        let before = script.asked();
        for _ in 0..200 {
            sleep(3 * SECOND).await;
            // A restarted watch fails again.
            script.step(Step::End);
        }
        let asked = script.asked() - before;
        assert!((10..=40).contains(&asked), "{asked} questions in ten minutes");
        assert_eq!(emitted(&service, EventKind::SourceStale).len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn r1_a_registry_that_comes_back_is_found_within_the_longest_pause() {
    let (provider, script) = ScriptedProvider::polled();
    script.fail(down("connection refused"));
    let manager = virtual_manager(provider).build().await.expect("builds");
    let service = manager.service("users").await.expect("a handle");
    sleep(10 * MINUTE).await;
    script.endpoints([endpoint("users-1", 1)]);
    until("the first success", CAP + SECOND, || service.select().is_ok()).await;
}

#[tokio::test(start_paused = true)]
async fn r2_a_registry_that_is_down_for_ever_takes_nothing_away_and_is_reported_once() {
    let (_manager, service, script) = known(ScriptedProvider::polled()).await;
    script.fail(down("the registry is down"));
    until("the mark", 12 * SECOND, || service.is_stale()).await;
    let age = || service.stats().sources[0].age.expect("it has answered");
    let mut before = age();
    for _ in 0..30 {
        sleep(24 * 60 * MINUTE).await;
        assert!((0..1_000).all(|_| service.select().is_ok()), "no selection fails");
        assert!(age() >= before + 24 * 60 * MINUTE, "the age rises");
        before = age();
    }
    assert_eq!(named(&service), ["users-1", "users-2"]);
    assert_eq!(emitted(&service, EventKind::SourceStale).len(), 1, "in a month");
}

/// A registry that is down and records its requests.
struct Failing(Arc<Mutex<Vec<Instant>>>);

#[async_trait]
impl Provider for Failing {
    fn info(&self) -> ProviderInfo {
        ProviderInfo::new("failing", "1")
    }

    async fn connect(&self) -> Result<(), Error> {
        Ok(())
    }

    async fn ping(&self) -> Result<(), Error> {
        Ok(())
    }

    async fn close(&self) -> Result<(), Error> {
        Ok(())
    }

    async fn list(&self, _query: &Query) -> Result<EndpointSet, Error> {
        self.0.lock().expect("no panic").push(Instant::now());
        Err(down("the registry is down"))
    }
}

#[tokio::test(start_paused = true)]
async fn r2_a_thousand_clients_that_began_together_do_not_come_back_together() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let mut all = Vec::new();
    let begun = Instant::now();
    for seed in 0..1_000 {
        let manager = FailoverManager::builder()
            .provider(Failing(Arc::clone(&asked)))
            .clock(Clock::tokio())
            .random(Random::seeded(seed))
            .start_timeout(Duration::ZERO)
            .build()
            .await
            .expect("builds");
        let service = manager.service("users").await.expect("a handle");
        all.push((manager, service));
    }
    assert!(begun.elapsed() < Duration::from_millis(100), "{:?}", begun.elapsed());
    sleep(10 * MINUTE).await;
    let mut slots: BTreeMap<u128, usize> = BTreeMap::new();
    for at in asked.lock().expect("no panic").iter() {
        *slots.entry((*at - begun).as_millis() / 100).or_default() += 1;
    }
    // The first pauses are shorter than a second, too short to spread a thousand clients.
    let busiest = slots.range(100..).map(|(_, asked)| asked).max().expect("they ask");
    assert!(*busiest <= 50, "{busiest} of 1 000 clients in one tenth of a second");
}

/// A registry that takes half a minute per answer.
struct Slow {
    now: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

struct Under<'a>(&'a AtomicUsize);

impl Drop for Under<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[async_trait]
impl Provider for Slow {
    fn info(&self) -> ProviderInfo {
        ProviderInfo::new("slow", "1")
    }

    async fn connect(&self) -> Result<(), Error> {
        Ok(())
    }

    async fn ping(&self) -> Result<(), Error> {
        Ok(())
    }

    async fn close(&self) -> Result<(), Error> {
        Ok(())
    }

    async fn list(&self, _query: &Query) -> Result<EndpointSet, Error> {
        let at_once = self.now.fetch_add(1, Ordering::Relaxed) + 1;
        let _under = Under(&self.now);
        self.most.fetch_max(at_once, Ordering::Relaxed);
        sleep(30 * SECOND).await;
        Ok(EndpointSet::new([endpoint("users-1", 1).into()]))
    }
}

#[tokio::test(start_paused = true)]
async fn r3_a_slow_registry_slows_no_call_and_is_asked_one_question_at_a_time() {
    for (timeout, answers) in [(MINUTE, true), (10 * SECOND, false)] {
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let provider = Slow { now: Arc::clone(&now), most: Arc::clone(&most) };
        let manager = virtual_manager(provider)
            .timeout(timeout)
            .poll_interval(Duration::from_millis(10))
            .build()
            .await
            .expect("builds");
        let service = manager.service("users").await.expect("a handle");
        sleep(2 * MINUTE).await;
        assert_eq!(service.is_ready(), answers, "an answer that takes longer than the timeout is given up");
        assert_eq!(most.load(Ordering::Relaxed), 1, "never two at once");
        let begun = Instant::now();
        for _ in 0..10_000 {
            assert_eq!(service.select().is_ok(), answers);
        }
        assert_eq!(begun.elapsed(), Duration::ZERO, "a choice waits for nothing");
        manager.close().await.expect("closes");
        assert_eq!(now.load(Ordering::Relaxed), 0, "what was asked is given up");
    }
}

#[tokio::test(start_paused = true)]
async fn r4_a_registry_that_is_suddenly_empty_costs_no_call_until_its_word_is_believed() {
    let (_manager, service, script) = known(ScriptedProvider::watching()).await;
    script.empty();
    until("the mark", SECOND, || service.is_stale()).await;
    for _ in 0..290 {
        sleep(SECOND).await;
        service.execute(async |_| Ok::<_, Infallible>(())).await.expect("the last answer is served");
    }
    assert_eq!(emitted(&service, EventKind::EmptyHeld).len(), 1);
    until("the end of the hold", 20 * SECOND, || named(&service).is_empty()).await;
    assert_eq!(service.select().expect_err("none").reason(), NoEndpointsReason::Empty);

    let (_manager, service, script) = known(ScriptedProvider::watching()).await;
    let trust = FailoverConfig::builder().empty_policy(EmptyPolicy::Trust).build().expect("valid");
    service.configure(trust).expect("configures");
    script.empty();
    until("at once", SECOND, || named(&service).is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn r4_unknown_service_none_passing_and_no_answer_are_distinguished() {
    for (step, code, words) in [
        (
            Step::Answer(EndpointSet::unknown_service()),
            "EMPTY_HELD",
            "the source no longer knows the service",
        ),
        (Step::Answer(EndpointSet::new([])), "EMPTY_HELD", "the source no longer names an endpoint"),
        (Step::Fail(down("connection reset")), down("").code(), "connection reset"),
    ] {
        let (_manager, service, script) = known(ScriptedProvider::watching()).await;
        script.step(step);
        until("the mark", SECOND, || service.is_stale()).await;
        let events = service.events(usize::MAX);
        let event = events
            .iter()
            .find(|event| matches!(event.kind, EventKind::EmptyHeld | EventKind::SourceStale))
            .expect("an event");
        assert_eq!(event.details["code"], code);
        assert!(event.reason.starts_with(words), "{event}");
    }
}

#[tokio::test(start_paused = true)]
async fn r6_garbage_in_an_answer_costs_no_good_entry_and_few_lines() {
    let (_manager, service, script) = known(ScriptedProvider::watching()).await;
    script.partial([endpoint("users-1", 1), endpoint("users-3", 3)], 1_000_000);
    until("the answer", SECOND, || named(&service) == ["users-1", "users-3"]).await;
    assert!(!service.is_stale());
    assert_eq!(service.stats().sources[0].rejected_entries, 1_000_000);
    let lines = emitted(&service, EventKind::EntryRejected);
    assert!(lines.len() <= 17, "{} lines", lines.len());
    assert!(lines[16].contains("and 999984 more"), "{}", lines[16]);

    // Answers with only unusable entries are an error, not an empty service.
    script.garbage(10_000);
    until("the mark", SECOND, || service.is_stale()).await;
    assert_eq!(named(&service), ["users-1", "users-3"]);
    assert!(emitted(&service, EventKind::EmptyHeld).is_empty());
}

#[tokio::test(start_paused = true)]
async fn r6_a_registry_with_another_bad_answer_each_time_is_soon_reported_rarely() {
    let (_manager, service, script) = known(ScriptedProvider::watching()).await;
    let mut events = service.subscribe();
    let mut lines = 0;
    for answer in 0..1_000 {
        let mut set = EndpointSet::new([endpoint("users-1", 1).into(), endpoint("users-2", 2).into()]);
        for entry in 0..100 {
            set.reject(format!("entry {entry}"), Error::invalid("port", answer, "a number"));
        }
        script.step(Step::Answer(set));
        sleep(Duration::from_millis(20)).await;
        while let Some(event) = events.try_recv() {
            lines += usize::from(event.kind == EventKind::EntryRejected);
        }
    }
    assert_eq!(service.stats().sources[0].rejected_entries, 100_000);
    // A burst of a hundred, then one every 6 s for the remaining 20 s or more.
    assert!((100..=110).contains(&lines), "{lines} lines about a hundred thousand bad entries");
}

#[tokio::test(start_paused = true)]
async fn r7_a_registry_that_goes_back_in_time_is_believed_within_one_answer() {
    let (_manager, service, script) = known(ScriptedProvider::watching()).await;
    for (revision, number) in [("9", 9), ("18446744073709551615", 1), ("0", 2), ("", 3), ("-1", 4)] {
        let set = EndpointSet::new([endpoint(&format!("users-{number}"), number).into()]);
        script.step(Step::Answer(set.with_revision(Revision::new(revision))));
        until(revision, Duration::from_millis(100), || named(&service) == [format!("users-{number}")]).await;
        let shown = service.stats().sources[0].revision.clone();
        assert_eq!(shown.as_deref(), Some(revision), "the statistics show it");
    }
    script.step(Step::Answer(
        EndpointSet::new([endpoint("users-4", 4).into()]).with_revision(Revision::new("\n5")),
    ));
    until("the same endpoints", SECOND, || {
        service.explain().to_string().contains("fresh, at revision \\u{a}5")
    })
    .await;
    script.endpoints([endpoint("users-4", 4)]);
    until("an answer without one", SECOND, || service.stats().sources[0].revision.is_none()).await;
    assert!(!service.is_stale(), "a revision has no order");
}

#[tokio::test(start_paused = true)]
async fn r7_a_watch_that_answers_and_ends_at_once_is_not_begun_in_a_loop() {
    let (_manager, _service, script) = known(ScriptedProvider::watching()).await;
    let before = script.asked();
    for _ in 0..500 {
        script.endpoints([endpoint("users-1", 1)]);
        script.step(Step::End);
    }
    sleep(10 * SECOND).await;
    assert!(script.asked() - before <= 10, "{} in ten seconds", script.asked() - before);
}

#[derive(Clone, Debug)]
enum Move {
    Name(Vec<u8>),
    Empty,
    Fail,
    End,
    Panic,
    Garbage,
    Wait(u64),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        4 => prop::collection::btree_set(0_u8..20, 1..6).prop_map(|set| Move::Name(set.into_iter().collect())),
        1 => Just(Move::Empty),
        2 => Just(Move::Fail),
        1 => Just(Move::End),
        1 => Just(Move::Panic),
        1 => Just(Move::Garbage),
        3 => (1_u64..2_000).prop_map(Move::Wait),
    ];
    prop::collection::vec(one, 1..40)
}

fn sets(numbers: &[u8]) -> Vec<Endpoint> {
    numbers.iter().map(|number| endpoint(&format!("users-{number:02}"), *number)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// Applies sets, errors, ends, panics and unconfirmed empty answers in any order, watched or
    /// polled.
    #[test]
    fn r9_whatever_comes_in_between_the_list_is_never_empty_and_ends_as_the_registry_has_it(
        moves in moves(),
        last in prop::collection::btree_set(0_u8..20, 1..6),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        let last: Vec<u8> = last.into_iter().collect();
        runtime.block_on(async {
            let (_manager, service, script) = known(ScriptedProvider::watching()).await;
            for step in moves {
                match step {
                    Move::Name(numbers) => script.endpoints(sets(&numbers)),
                    Move::Empty => script.empty(),
                    Move::Fail => script.fail(down("reset")),
                    Move::End => script.step(Step::End),
                    Move::Panic => script.panic(),
                    Move::Garbage => script.garbage(3),
                    Move::Wait(millis) => {
                        for _ in 0..millis.div_ceil(10) {
                            sleep(Duration::from_millis(10)).await;
                            assert!(!named(&service).is_empty(), "a flash of nothing");
                        }
                    }
                }
            }
            script.endpoints(sets(&last));
            let expected: Vec<_> = last.iter().map(|number| format!("users-{number:02}")).collect();
            until("the last answer", 10 * MINUTE, || {
                assert!(!named(&service).is_empty(), "a flash of nothing");
                named(&service) == expected && script.left() == 0
            })
            .await;
        });
    }
}

#[tokio::test(start_paused = true)]
async fn r11_a_thousand_changes_a_second_are_taken_together_and_the_newest_is_seen_soon() {
    let (_manager, service, script) = known(ScriptedProvider::watching()).await;
    let mut changes = 0;
    let mut before = named(&service);
    for second in 0..10_usize {
        for tenth in 0..10_usize {
            let first = second * 1_000 + tenth * 100;
            script.flood(100, |n| {
                let number = first + n;
                let last = u8::try_from(number % 250).expect("small");
                EndpointSet::new([endpoint(&format!("users-{number}"), last).into()])
            });
            for _ in 0..10 {
                sleep(Duration::from_millis(10)).await;
                changes += usize::from(before != named(&service));
                before = named(&service);
            }
            assert_eq!(named(&service), [format!("users-{}", first + 99)], "within a tenth of a second");
        }
    }
    assert!(changes <= 110, "{changes} changes of 10 000 that came in hundreds");
    assert_eq!(script.left(), 0, "nothing piles up");
}

#[tokio::test(start_paused = true)]
async fn r12_an_id_that_moves_starts_afresh_and_a_duplicate_address_is_one_endpoint() {
    let (_manager, service, script) = known(ScriptedProvider::watching()).await;
    for _ in 0..10 {
        let done = service.call().max_retries(0);
        let _ =
            done.execute(async |attempt| if attempt.id() == "users-1" { Err("down") } else { Ok(()) }).await;
    }
    let failures = |service: &ServiceHandle| service.stats().endpoints[0].failures;
    assert_eq!(failures(&service), 5, "its breaker is open");
    assert!(!picked(&service).contains("users-1"));

    script.endpoints([endpoint("users-1", 9), endpoint("users-2", 2)]);
    until("the move", SECOND, || service.endpoint("users-1").is_some_and(|e| e.address() == "10.0.0.9"))
        .await;
    assert_eq!(failures(&service), 0);
    assert!(picked(&service).contains("users-1"), "another place, and nothing is known of it");

    script.endpoints([endpoint("users-1", 9), endpoint("users-2", 2), endpoint("users-3", 2)]);
    until("the answer", SECOND, || service.stats().sources[0].endpoints == 3).await;
    assert_eq!(named(&service), ["users-1", "users-3"], "of equally healthy entries the newer one counts");
    assert_eq!(picked(&service).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn r13_a_provider_that_panics_hangs_or_floods_harms_no_other() {
    let (good, other) = (MemoryProvider::new(), MemoryProvider::new());
    let (bad, script) = ScriptedProvider::watching();
    let manager = virtual_manager(good)
        .provider(bad)
        .provider_as("other", other)
        .fallback_enabled(false)
        .build()
        .await
        .expect("builds");
    manager.register_endpoint(endpoint_of("orders", "orders-1", 7)).await.expect("registers");
    let orders = manager.service("orders").await.expect("a handle");
    script.endpoints([endpoint("users-1", 1)]);
    let users = manager.provider("scripted").expect("there").service("users").await.expect("a handle");
    assert!(users.select().is_ok());

    for _ in 0..1_000 {
        script.panic();
    }
    let before = script.asked();
    sleep(10 * MINUTE).await;
    let restarts = script.asked() - before;
    assert!((5..=40).contains(&restarts), "{restarts} restarts in ten minutes");
    assert!(!emitted(&users, EventKind::ProviderPanicked).is_empty());
    assert!(users.select().is_ok(), "its last answer is served");

    script.step(Step::Hang);
    script.flood(10_000, |n| {
        let entries = (0..10).map(|k| endpoint(&format!("u{n}-{k}"), k));
        EndpointSet::new(entries.map(EndpointEntry::from))
    });
    for _ in 0..1_000 {
        orders.execute(async |_| Ok::<_, Infallible>(())).await.expect("the others go on");
        sleep(Duration::from_millis(10)).await;
    }
    assert!(!orders.is_stale());
}
