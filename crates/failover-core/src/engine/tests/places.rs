//! Endpoints of several sources, and several entries for one place.

use proptest::prelude::*;

use super::*;
use crate::engine::algorithm::PickOptions;
use crate::engine::snapshot::Slot;
use crate::inspect::EndpointExplanation;
use crate::model::load_report::LoadReport;

/// An engine with the sources `dc1` and `dc2`, in these tiers.
fn two(config: FailoverConfig, tiers: [u32; 2]) -> (Bench, [SourceId; 2]) {
    let name = ServiceName::new("users").expect("valid");
    let engine = Engine::new(name, Arc::new(config), Clock::tokio(), Random::seeded(1), None).expect("valid");
    let sources = ["dc1", "dc2"];
    let [first, second] = [0, 1].map(|at: usize| engine.add_source(Arc::from(sources[at]), tiers[at]));
    (Bench { engine, source: first }, [first, second])
}

fn at(id: &str, address: &str, health: Health) -> EndpointEntry {
    let endpoint = Endpoint::builder(id, "users", address, 80).build().expect("valid");
    EndpointEntry::new(endpoint).with_health(health)
}

impl Bench {
    fn name_in(&self, source: SourceId, entries: impl IntoIterator<Item = EndpointEntry>) {
        self.engine.publish(source, entries.into_iter().collect(), false, Duration::ZERO);
    }

    fn explained(&self) -> Vec<EndpointExplanation> {
        self.engine.explain().endpoints
    }

    /// The addresses that calls go to, with their number.
    fn addresses(&self, calls: usize) -> BTreeMap<String, usize> {
        (0..calls).fold(BTreeMap::new(), |mut counts, _| {
            let pick = self.engine.pick(Tried::NONE, true).expect("there is one");
            let address = self.engine.slab.state(pick.state()).endpoint().address().to_owned();
            self.engine.report(pick, AttemptClass::Success);
            *counts.entry(address).or_default() += 1;
            counts
        })
    }
}

#[tokio::test(start_paused = true)]
async fn one_id_in_two_sources_is_two_endpoints_and_the_death_of_one_costs_no_call() {
    for tiers in [[0, 0], [0, 1]] {
        let (bench, [dc1, dc2]) = two(breaker(|b| b), tiers);
        bench.name_in(dc1, [at("mongo", "10.1.0.1", Health::Healthy)]);
        bench.name_in(dc2, [at("mongo", "10.2.0.1", Health::Healthy)]);
        let explained = bench.explained();
        let names: Vec<_> = explained.iter().map(|of| (&*of.name, of.id.as_str(), &*of.source)).collect();
        assert_eq!(names, [("mongo@dc1", "mongo", "dc1"), ("mongo@dc2", "mongo", "dc2")]);
        // The first one is dead: each call that fails there goes to the other one.
        for _ in 0..100 {
            let mut tried = Vec::new();
            let answered = (0..2).any(|_| {
                let pick = bench.engine.pick(Tried::of(&tried), true).expect("there is one");
                tried.push(pick.state());
                let dead = bench.engine.slab.state(pick.state()).endpoint().address() == "10.1.0.1";
                bench.engine.report(pick, if dead { AttemptClass::Failure } else { AttemptClass::Success });
                !dead
            });
            assert!(answered);
        }
        let opened = bench.emitted(EventKind::CircuitOpen);
        assert!(opened[0].starts_with("circuit_open users/mongo [dc1]: "), "{opened:?}");
        let evidence: Vec<_> = bench.explained().into_iter().map(|of| of.evidence.expect("events")).collect();
        assert_eq!([evidence[0].kind, evidence[1].kind], [EventKind::CircuitOpen, EventKind::EndpointAdded]);
        // The registry says so too.
        bench.name_in(dc1, [at("mongo", "10.1.0.1", Health::Unhealthy)]);
        assert_eq!(bench.addresses(10), [("10.2.0.1".to_owned(), 10)].into());
    }
}

type Operation<'a> = &'a dyn Fn(&str) -> Result<(), crate::error::Error>;

#[tokio::test(start_paused = true)]
async fn operations_take_an_id_or_id_at_source_and_refuse_an_ambiguous_id() {
    let (bench, [dc1, dc2]) = two(breaker(|b| b), [0, 0]);
    bench.name_in(dc1, [at("mongo", "10.1.0.1", Health::Healthy), at("a", "10.1.0.2", Health::Healthy)]);
    bench.name_in(
        dc2,
        [
            at("mongo", "10.2.0.1", Health::Healthy),
            // An id that contains an @ comes before the id `a` of source `dc1`.
            at("a@dc1", "10.2.0.2", Health::Healthy),
            at("b@x", "10.2.0.3", Health::Healthy),
        ],
    );
    let found = |text: &str| {
        let snapshot = bench.engine.snapshot();
        let slot = snapshot.resolve(text).map(|index| snapshot.slot(index).endpoint.address().to_owned());
        slot.map_err(|unresolved| unresolved.error("users", text))
    };
    for (text, address) in [
        ("mongo@dc1", "10.1.0.1"),
        ("mongo@dc2", "10.2.0.1"),
        ("a", "10.1.0.2"),
        ("a@dc1", "10.2.0.2"),
        ("a@dc1@dc2", "10.2.0.2"),
        ("b@x", "10.2.0.3"),
        ("b@x@dc2", "10.2.0.3"),
    ] {
        assert_eq!(found(text).expect(text), address, "{text}");
    }
    for text in ["a@dc2", "b@x@dc1", "mongo@dc3", "b", "x@", "@", "@dc1"] {
        assert_eq!(found(text).expect_err(text).kind(), ErrorKind::NotFound, "{text}");
    }
    let operations: [Operation<'_>; 3] = [
        &|id| bench.engine.force(id, crate::model::forced::Forced::Out, SECOND),
        &|id| bench.engine.report_load(id, &LoadReport::new(1.0, 0.5)),
        &|id| bench.engine.explain().endpoint(id).map(|_| ()),
    ];
    for operation in operations {
        let error = operation("mongo").expect_err("two have it");
        assert_eq!(error.kind(), ErrorKind::Validation);
        assert!(error.to_string().contains("mongo@dc1 and mongo@dc2"), "{error}");
        assert_eq!(operation("nobody").expect_err("none has it").kind(), ErrorKind::NotFound);
        operation("mongo@dc2").expect("one has it");
        operation("a@dc1").expect("an exact id");
    }
    assert!(!bench.addresses(40).contains_key("10.2.0.1"), "forced out");
    assert!(bench.addresses(40).contains_key("10.1.0.1"), "the other one is not");
    let none = bench.explained().into_iter().find(|of| of.name == "mongo@dc2").expect("there");
    assert!(none.evidence.expect("forced").reason.starts_with("forced out"));
}

#[tokio::test(start_paused = true)]
async fn weights_are_configured_by_id_or_by_id_at_source() {
    let weights = [("mongo", 2), ("mongo@dc2", 6), ("a@dc1", 4)];
    let balancer = crate::config::LoadBalancerConfig::builder().weights(weights).build().expect("valid");
    let config = FailoverConfig::builder().load_balancer(balancer).build().expect("valid");
    let (bench, [dc1, dc2]) = two(config, [0, 0]);
    bench.name_in(dc1, [at("mongo", "10.1.0.1", Health::Healthy), at("a", "10.1.0.2", Health::Healthy)]);
    bench.name_in(dc2, [at("mongo", "10.2.0.1", Health::Healthy), at("a@dc1", "10.2.0.2", Health::Healthy)]);
    let snapshot = bench.engine.snapshot();
    let weight = |name: &str| {
        let slot = snapshot.slot(snapshot.find(name).expect(name));
        bench.engine.slab.state(slot.state).weight()
    };
    assert_eq!(["mongo@dc1", "mongo@dc2", "a@dc1"].map(weight), [2, 6, 4]);
    assert_eq!(weight("a"), 1, "`a@dc1` is the id of another endpoint");
    let unknown = bench.emitted(EventKind::LoadBalance);
    assert_eq!(unknown.iter().filter(|event| event.contains("unknown")).count(), 1, "until dc2 answered");
}

/// An entry of one place: its source, id, health, lifecycle, and the answer in which it first
/// appears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Named {
    source: usize,
    id: char,
    health: Health,
    lifecycle: Lifecycle,
    since: u8,
}

const ADDRESSES: [&str; 4] = ["10.0.0.1", "::ffff:10.0.0.1", "10.0.0.1", "::ffff:a00:1"];

impl Named {
    fn entry(self) -> EndpointEntry {
        let address = ADDRESSES[self.id as usize % ADDRESSES.len()];
        at(&self.id.to_string(), address, self.health).with_lifecycle(self.lifecycle)
    }
}

/// Publishes the entries in this order, and another place, which is in the first source.
fn named(entries: &[Named], first: usize) -> Bench {
    let (bench, sources) = two(breaker(|b| b), [0, 0]);
    for answer in 0..3 {
        for source in [first, 1 - first] {
            let of = entries.iter().filter(|named| named.source == source && named.since <= answer);
            let other = (source == 0).then(|| at("other", "10.0.0.2", Health::Healthy));
            bench.name_in(sources[source], of.map(|named| named.entry()).chain(other));
        }
    }
    bench
}

fn entries() -> impl proptest::strategy::Strategy<Value = Vec<Named>> {
    let health =
        prop::sample::select(vec![Health::Healthy, Health::Degraded, Health::Unknown, Health::Unhealthy]);
    let lifecycle = prop_oneof![
        6 => Just(Lifecycle::InService),
        1 => Just(Lifecycle::Draining),
        1 => Just(Lifecycle::Maintenance),
    ];
    let one = (0..2_usize, prop::char::range('a', 'd'), health, lifecycle, 0..3_u8);
    let one =
        one.prop_map(|(source, id, health, lifecycle, since)| Named { source, id, health, lifecycle, since });
    prop::collection::vec(one, 1..6).prop_map(|mut all| {
        let mut seen = std::collections::HashSet::new();
        all.retain(|named| seen.insert((named.source, named.id)));
        all
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_order_of_ids_entries_and_answers_does_not_matter(
        all in entries(),
        shuffled in any::<u64>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime").block_on(async {
            let mut other = all.clone();
            other.rotate_left((shuffled % 7) as usize % all.len());
            if shuffled % 2 == 0 {
                other.reverse();
            }
            // Names say nothing: the letters are exchanged.
            let mut renamed = all.clone();
            for named in &mut renamed {
                named.id = char::from(b'a' + b'd' - named.id as u8);
            }
            let view = |bench: &Bench| {
                let snapshot = bench.engine.snapshot();
                let is_place = |slot: &&Slot| slot.endpoint.ip().is_some_and(|ip| ip.to_canonical().to_string() == "10.0.0.1");
                let [slot] = snapshot.slots.iter().filter(is_place).collect::<Vec<_>>()[..] else {
                    panic!("{:?}", snapshot.slots)
                };
                (slot.claim, slot.others.len(), snapshot.slots.len())
            };
            // Entries appear one answer after the other, in virtual time.
            let bench = named(&all, 0);
            let best = all.iter().map(|named| named.health.order()).min();
            let (claim, others, places) = view(&bench);
            prop_assert_eq!(Some(claim.health.order()), best);
            prop_assert_eq!((others + 1, places), (all.len(), 2));
            let strictest = all.iter().fold(Lifecycle::InService, |strictest, named| strictest.stricter(named.lifecycle));
            prop_assert_eq!(claim.lifecycle, strictest);
            let usable = claim.health != Health::Unhealthy && claim.lifecycle == Lifecycle::InService;
            prop_assert_eq!(claim.eligible(), usable);
            for (entries, first) in [(&all, 1), (&other, 0), (&other, 1), (&renamed, 0)] {
                prop_assert_eq!(view(&named(entries, first)), (claim, others, places));
            }
            // One place has one share.
            let shares = bench.addresses(100);
            if usable {
                prop_assert!(shares.values().all(|count| *count == 50), "{:?}", shares);
            }
            Ok(())
        })?;
    }
}

#[tokio::test(start_paused = true)]
async fn of_equally_healthy_entries_the_one_first_seen_last_counts() {
    // Whatever the order of their ids, and whether the answers are whole or changes.
    for (old, new) in [("a", "b"), ("b", "a")] {
        let bench = Bench::with(&[]);
        bench.publish([at(old, "10.0.0.1", Health::Healthy)]);
        pass(SECOND).await;
        let both = [at(old, "10.0.0.1", Health::Healthy), at(new, "10.0.0.1", Health::Healthy)];
        bench.publish(both.clone());
        let counts = |bench: &Bench| bench.explained()[0].id.to_string();
        assert_eq!(counts(&bench), new);
        pass(SECOND).await;
        // A change of the older entry does not make it newer.
        let degraded = both[0].clone().with_health(Health::Degraded);
        let gone = vec![both[0].endpoint().id().clone()];
        let update = crate::discovery::Update::Change { gone, come: vec![degraded] };
        bench.engine.update(bench.source, update, Some(crate::discovery::Answered::default()));
        assert_eq!(counts(&bench), new);
        bench.publish(both.clone());
        assert_eq!(counts(&bench), new);
        // The healthier one counts, however old it is.
        bench.publish([both[0].clone(), both[1].clone().with_health(Health::Unhealthy)]);
        assert_eq!(counts(&bench), old);
        let shared = bench.emitted(EventKind::PlaceShared);
        assert!(
            shared.iter().any(|event| event.contains(&format!(
                "2 entries name 10.0.0.1:80: {old}@test (healthy) counts, beside {new}@test (unhealthy)"
            ))),
            "{shared:?}"
        );
        // A new entry of that id at that place is newer than both.
        bench.publish([at(new, "10.0.0.1", Health::Healthy)]);
        pass(SECOND).await;
        bench.publish(both.clone());
        assert_eq!(counts(&bench), old);
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_registration_does_not_hide_the_living_one_and_an_operator_takes_the_place_out() {
    let bench = Bench::with(&[]);
    let dead = at("a-dead", "10.0.0.1", Health::Unhealthy);
    let living = at("living", "10.0.0.1", Health::Healthy);
    bench.publish([dead.clone(), living.clone()]);
    assert_eq!(bench.addresses(100), [("10.0.0.1".to_owned(), 100)].into());
    let explained = bench.engine.explain();
    assert_eq!((explained.endpoints.len(), explained.endpoints[0].id.as_str()), (1, "living"));
    let [other] = &explained.endpoints[0].others[..] else { panic!("{explained:?}") };
    assert_eq!((other.id.as_str(), &*other.source, other.health), ("a-dead", "test", Health::Unhealthy));
    assert!(explained.to_string().contains("also listed as a-dead@test, unhealthy\n"), "{explained}");
    // Each entry's id names the endpoint.
    for id in ["a-dead", "living", "a-dead@test"] {
        assert_eq!(explained.endpoint(id).expect(id).id, *"living");
        bench.engine.force(id, crate::model::forced::Forced::Observe, SECOND).expect(id);
    }
    for lifecycle in [Lifecycle::Draining, Lifecycle::Maintenance] {
        bench.publish([dead.clone().with_lifecycle(lifecycle), living.clone()]);
        assert!(bench.engine.pick(Tried::NONE, true).is_none(), "{lifecycle}");
        let text = bench.engine.explain().to_string();
        assert!(text.contains(&format!("also listed as a-dead@test, unhealthy, {lifecycle}\n")), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_place_in_two_registries_has_one_share_and_a_retry_goes_elsewhere() {
    let (bench, [dc1, dc2]) = two(breaker(|b| b), [0, 0]);
    let place = |id: &str| at(id, "10.0.0.1", Health::Healthy);
    bench.name_in(dc1, [place("a"), at("b", "10.0.0.2", Health::Healthy)]);
    bench.name_in(dc2, [place("z")]);
    let shares = bench.addresses(100);
    assert_eq!(shares, [("10.0.0.1".to_owned(), 50), ("10.0.0.2".to_owned(), 50)].into());
    for _ in 0..20 {
        let first = bench.engine.pick(Tried::NONE, true).expect("one");
        let tried = [first.state()];
        let again = bench.engine.pick(Tried::of(&tried), true).expect("another");
        assert_ne!(first.state(), again.state());
        assert!(!bench.engine.has_other_than(&[first.state(), again.state()]));
        bench.engine.cancel(first);
        bench.engine.cancel(again);
    }
    // The statistics of the place stay with the source that named it first.
    bench.name_in(dc1, [at("b", "10.0.0.2", Health::Healthy)]);
    assert_eq!(bench.engine.stats().endpoints[0].attempts + bench.engine.stats().endpoints[1].attempts, 140);
}

#[tokio::test(start_paused = true)]
async fn a_place_keeps_its_state_while_an_entry_of_it_stays_and_its_first_usable_tier() {
    let (bench, [dc1, dc2]) = two(breaker(|b| b), [0, 1]);
    let place = |id: &str, health| at(id, "10.0.0.1", health);
    let other = at("other", "10.0.0.2", Health::Unknown);
    // A source without health checks, and one with them as its fallback.
    bench.name_in(dc1, [place("a", Health::Unknown), other.clone()]);
    bench.name_in(dc2, [place("z", Health::Healthy)]);
    assert_eq!(bench.addresses(10).len(), 2, "it is not lost to the tier of the healthier entry");
    assert!(bench.explained().iter().all(|of| of.tier == (0, 0)), "{:?}", bench.explained());
    for _ in 0..20 {
        bench.call(&["z", "a"]);
    }
    let state =
        |bench: &Bench| bench.explained().into_iter().find(|of| of.address == "10.0.0.1:80").expect("there");
    assert!(!state(&bench).availability.is_in(), "its breaker is open");
    // Another entry counts: the same place.
    bench.name_in(dc2, []);
    assert!(!state(&bench).availability.is_in());
    assert_eq!((state(&bench).id.as_str(), &*state(&bench).source), ("a", "dc1"));
    assert_eq!(state(&bench).evidence.expect("an event").kind, EventKind::CircuitOpen, "not place_shared");
    // A registry adds and removes the node while another one has the id as well.
    bench.name_in(dc1, [place("a@n1", Health::Unknown), other.clone()]);
    assert!(!state(&bench).availability.is_in());
    bench.name_in(dc1, [place("a", Health::Unknown), other.clone()]);
    assert!(!state(&bench).availability.is_in());
    assert!(bench.emitted(EventKind::EndpointRemoved).is_empty());
    // An unusable entry does not give its tier.
    bench.name_in(dc2, [place("z", Health::Healthy)]);
    bench.name_in(dc1, [place("a", Health::Unhealthy), other.clone()]);
    assert_eq!(state(&bench).tier, (1, 0));
    // Another endpoint at the same place: nothing is known of it.
    bench.name_in(dc2, []);
    bench.name_in(dc1, [place("b", Health::Unknown), other]);
    assert!(state(&bench).availability.is_in());
    assert_eq!(bench.emitted(EventKind::EndpointRemoved).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_id_that_moves_while_another_entry_keeps_its_place_is_a_new_endpoint_there() {
    let bench = Bench::with(&[]);
    bench.publish([at("a", "10.0.0.1", Health::Healthy), at("b", "10.0.0.1", Health::Healthy)]);
    for _ in 0..5 {
        bench.call(&["a", "b"]);
    }
    bench.publish([at("a", "10.0.0.3", Health::Healthy), at("b", "10.0.0.1", Health::Healthy)]);
    let explained = bench.explained();
    assert!(explained[0].availability.is_in(), "{explained:?}");
    assert!(!explained[1].availability.is_in(), "{explained:?}");
}

#[tokio::test(start_paused = true)]
async fn keys_go_to_the_same_place_in_every_process_whatever_the_order_of_its_sources() {
    let config = || {
        let balancer = crate::config::LoadBalancerConfig::builder().algorithm(Algorithm::IpHash).build();
        FailoverConfig::builder().load_balancer(balancer.expect("valid")).build().expect("valid")
    };
    let keys = |bench: &Bench| -> Vec<String> {
        let key = |n: u32| {
            let options = PickOptions::keyed(&n.to_be_bytes());
            let pick = bench.engine.pick_with(Tried::NONE, true, options).expect("one");
            let address = bench.engine.slab.state(pick.state()).endpoint().address().to_owned();
            bench.engine.cancel(pick);
            address
        };
        (0..500).map(key).collect()
    };
    let of = |dc: u8| {
        let ids = ["mongo", "b", "c"];
        ids.map(|id| {
            at(
                &if id == "mongo" { id.to_owned() } else { format!("{id}{dc}") },
                &format!("10.{dc}.0.{}", id.len()),
                Health::Healthy,
            )
        })
    };
    let shared = |health| at("zz", "10.1.0.9", health);
    let (one, [dc1, dc2]) = two(config(), [0, 0]);
    one.name_in(dc1, of(1).into_iter().take(1).chain([shared(Health::Healthy)]));
    one.name_in(dc2, of(2).into_iter().take(1));
    let (other, [dc1, dc2]) = two(config(), [0, 0]);
    other.name_in(dc2, of(2).into_iter().take(1).chain([shared(Health::Healthy)]));
    other.name_in(dc2, of(2).into_iter().take(1));
    other.name_in(dc1, of(1).into_iter().take(1).chain([shared(Health::Healthy)]));
    let before = keys(&one);
    assert_eq!(before, keys(&other));
    assert_eq!(before.iter().collect::<std::collections::HashSet<_>>().len(), 3);
    // The entry that counts changes, and the names do not.
    other.name_in(dc2, of(2).into_iter().take(1).chain([at("zzz", "10.1.0.9", Health::Healthy)]));
    assert_eq!(before, keys(&other));
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_keeps_its_state_under_another_name_has_the_keys_of_that_name() {
    let keys = |bench: &Bench| -> Vec<u32> {
        let key = |n: u32| {
            let snapshot = bench.engine.snapshot();
            let table = snapshot.tiers[0].keyed().expect("built");
            let state = table.at(u64::from(n).wrapping_mul(0x9E37_79B9_7F4A_7C15), 0).expect("one");
            snapshot.slots.iter().position(|slot| slot.state == state).expect("there") as u32
        };
        (0..1_000).map(key).collect()
    };
    let bench = || {
        let balancer = crate::config::LoadBalancerConfig::builder().algorithm(Algorithm::IpHash).build();
        Bench::new(FailoverConfig::builder().load_balancer(balancer.expect("valid")).build().expect("valid"))
    };
    let two = |first: &str| [at(first, "10.0.0.1", Health::Healthy), at("b", "10.0.0.2", Health::Healthy)];
    let (renamed, fresh) = (bench(), bench());
    renamed.publish(two("a"));
    let before = keys(&renamed);
    renamed.publish(two("a@n1"));
    assert!(renamed.emitted(EventKind::EndpointRemoved).is_empty(), "it keeps its state");
    fresh.publish(two("a@n1"));
    assert_eq!(keys(&renamed), keys(&fresh));
    assert_ne!(keys(&renamed), before);
}

/// A registry with many entries for one address, which all change their ids, costs no quadratic time.
#[tokio::test(start_paused = true)]
async fn a_flood_of_entries_for_one_place_is_one_endpoint_and_a_short_event() {
    let bench = Bench::with(&[]);
    let flood = |kind: char| {
        bench.publish((0..20_000).map(|n| at(&format!("{kind}{n:05}"), "10.0.0.1", Health::Healthy)));
    };
    let begun = std::time::Instant::now();
    for kind in ['a', 'b', 'c'] {
        flood(kind);
    }
    assert!(begun.elapsed() < 10 * SECOND, "{:?}", begun.elapsed());
    let shared = bench.emitted(EventKind::PlaceShared);
    assert!(shared.iter().all(|event| event.len() < 500 && event.contains("and 19994 more")), "{shared:?}");
    let explained = bench.explained();
    assert_eq!((explained.len(), explained[0].others.len()), (1, 19_999));
    assert_eq!(bench.engine.snapshot().resolve("c19999@test"), Ok(0));
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_is_only_retained_gives_way_to_one_that_is_named() {
    let bench = Bench::with(&[]);
    let retained = at("a", "10.0.0.1", Health::Healthy);
    bench.publish([retained.clone()]);
    for lifecycle in [Lifecycle::InService, Lifecycle::Draining] {
        let named = at("b", "10.0.0.1", Health::Unknown);
        let update = crate::discovery::Update::Whole {
            entries: vec![named],
            retained: vec![retained.clone().with_lifecycle(lifecycle)],
            unknown: false,
        };
        bench.engine.update(bench.source, update, Some(crate::discovery::Answered::default()));
        let explained = bench.explained();
        let [only] = &explained[..] else { panic!("{explained:?}") };
        assert!(only.availability.is_in() && only.others.is_empty(), "{only:?}");
        assert_eq!(only.id, *"b");
    }
}
