//! Random sequences of everything that can happen to a service: updates, outcomes, drops,
//! configurations and time.

use proptest::prelude::*;

use super::*;
use crate::model::breaker_state::BreakerState;

#[derive(Clone, Debug)]
enum Step {
    /// The registry names these of eight endpoints, some at their second address.
    Publish(Vec<(u8, bool)>),
    /// The registry does not answer.
    Fail,
    /// A call begins.
    Begin,
    /// The call that began this many calls before the newest one ends.
    End(usize, u8),
    /// Like `End`, but the call is dropped.
    Drop(usize),
    Wait(u64),
    Configure(bool, u32),
    /// The manager is dropped.
    Close,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let named = prop::collection::btree_map(0_u8..8, any::<bool>(), 0..8);
    let step = prop_oneof![
        2 => named.prop_map(|named| Step::Publish(named.into_iter().collect())),
        1 => Just(Step::Fail),
        12 => Just(Step::Begin),
        10 => (0_usize..6, 0_u8..7).prop_map(|(back, verdict)| Step::End(back, verdict)),
        2 => (0_usize..6).prop_map(Step::Drop),
        3 => (1_u64..8_000).prop_map(Step::Wait),
        1 => (any::<bool>(), 0_u32..3).prop_map(|(enabled, floor)| Step::Configure(enabled, floor)),
    ];
    prop::collection::vec(step, 1..150)
}

fn verdict(number: u8) -> AttemptClass {
    use AttemptClass::*;
    [Success, Failure, Timeout, Overload, NotSent, Rejected, Local][number as usize]
}

fn place(id: u8, second: bool) -> EndpointEntry {
    let address = format!("10.{}.0.{id}", u8::from(second));
    EndpointEntry::new(Endpoint::builder(format!("e{id}"), "users", address, 80).build().expect("valid"))
}

/// The states that may follow one another when one call has begun or ended, or an update has
/// arrived.
fn is_legal(from: BreakerState, to: BreakerState) -> bool {
    use BreakerState::*;
    from == to
        || matches!((from, to), (Closed | HalfOpen, Open) | (Open | HalfOpen, Closed) | (Open, HalfOpen))
}

struct World {
    bench: Bench,
    live: Vec<RawPick>,
    /// The endpoints of the newest answer, with their addresses.
    named: BTreeMap<String, String>,
    states: BTreeMap<String, (String, BreakerState)>,
    closed: bool,
    events: usize,
    begun: u64,
}

impl World {
    fn new() -> Self {
        let config = breaker(|b| b.failure_threshold(2).recovery_timeout(Duration::from_secs(1)));
        Self {
            bench: Bench::new(config),
            live: Vec::new(),
            named: BTreeMap::new(),
            states: BTreeMap::new(),
            closed: false,
            events: 0,
            begun: 0,
        }
    }

    async fn step(&mut self, step: Step) {
        let engine = &self.bench.engine;
        let switched = matches!(step, Step::Configure(..));
        match step {
            Step::Publish(named) => {
                let entries: Vec<_> = named.iter().map(|(id, second)| place(*id, *second)).collect();
                if !self.closed {
                    self.named = entries
                        .iter()
                        .map(|entry| {
                            (entry.endpoint().id().to_string(), entry.endpoint().address().to_owned())
                        })
                        .collect();
                }
                self.bench.publish(entries);
            }
            Step::Fail => {
                let error = Error::new(crate::error::ErrorKind::Connection, "down");
                engine.source_failed(self.bench.source, error, EventKind::SourceStale);
            }
            Step::Begin => match engine.pick(Tried::NONE, true) {
                Some(pick) => {
                    let endpoint = engine.slab.state(pick.state()).endpoint();
                    let address = self.named.get(endpoint.id().as_str());
                    assert_eq!(address.map(String::as_str), Some(endpoint.address()), "a pick is in the set");
                    self.begun += 1;
                    self.live.push(pick);
                }
                // Each endpoint may be half-open with all its permits taken.
                None => {
                    assert!(self.named.is_empty() || !self.live.is_empty(), "there is one, and it is free");
                }
            },
            Step::End(back, number) => {
                if let Some(pick) = self.take(back) {
                    self.bench.engine.report(pick, verdict(number));
                }
            }
            Step::Drop(back) => {
                if let Some(pick) = self.take(back) {
                    self.bench.engine.cancel(pick);
                }
            }
            Step::Wait(millis) => pass(Duration::from_millis(millis)).await,
            Step::Configure(enabled, floor) => {
                let config = breaker(|b| b.enabled(enabled).failure_threshold(2).min_available(floor));
                engine.configure(config.into()).expect("supported");
            }
            Step::Close => {
                let why = Error::new(crate::error::ErrorKind::Shutdown, "closed");
                engine.discovery_ended(&why);
                self.closed = true;
                self.events = engine.events.newest(usize::MAX).len();
            }
        }
        self.check(switched);
    }

    fn take(&mut self, back: usize) -> Option<RawPick> {
        let index = self.live.len().checked_sub(back + 1)?;
        Some(self.live.swap_remove(index))
    }

    fn check(&mut self, switched: bool) {
        let stats = self.bench.engine.stats();
        assert_eq!(stats.in_flight, self.live.len() as u64, "in flight is the number of live choices");
        let ids: Vec<_> = stats.endpoints.iter().map(|endpoint| endpoint.id.to_string()).collect();
        assert_eq!(ids, self.named.keys().cloned().collect::<Vec<_>>(), "an error removes nothing");
        let mut states = BTreeMap::new();
        for endpoint in &stats.endpoints {
            let id = endpoint.id.to_string();
            if let Some((address, before)) = self.states.get(&id) {
                let transition = *address != endpoint.address;
                let legal = is_legal(*before, endpoint.breaker)
                    || (switched && endpoint.breaker == BreakerState::Closed);
                assert!(transition || legal, "{id}: {before:?} to {:?}", endpoint.breaker);
                assert!(
                    !transition || endpoint.breaker == BreakerState::Closed,
                    "{id} moved and starts with a closed breaker"
                );
            }
            states.insert(id, (endpoint.address.clone(), endpoint.breaker));
        }
        self.states = states;
        if self.closed {
            let source = &self.bench.engine.sources()[0];
            assert_eq!(source.error.as_ref().map(ToString::to_string).as_deref(), Some("closed"));
            let emitted = self.bench.engine.events.newest(usize::MAX);
            let late = emitted.iter().skip(self.events).find(|event| {
                matches!(
                    event.kind,
                    EventKind::EndpointAdded
                        | EventKind::EndpointRemoved
                        | EventKind::SourceStale
                        | EventKind::SourceFresh
                )
            });
            assert!(late.is_none(), "nothing of the registry after the close: {late:?}");
        }
    }

    /// Ends everything, and checks that nothing is in flight, all permits are returned, and every
    /// call that began has been counted.
    async fn end(mut self) {
        while let Some(pick) = self.live.pop() {
            self.bench.engine.cancel(pick);
        }
        let stats = self.bench.engine.stats();
        assert_eq!(stats.in_flight, 0);
        pass(Duration::from_secs(3_600)).await;
        if !self.named.is_empty() {
            self.bench.engine.configure(breaker(|b| b).into()).expect("supported");
            for _ in 0..400 {
                self.bench.call(&[]);
                pass(Duration::from_millis(100)).await;
            }
            let stats = self.bench.engine.stats();
            let broken = stats.endpoints.iter().filter(|endpoint| endpoint.breaker != BreakerState::Closed);
            assert_eq!(broken.count(), 0, "all of them come back");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_counts_picks_and_breakers_are_right_and_nothing_comes_after_the_close(
        before in steps(),
        after in steps(),
        closes in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime").block_on(async {
            let mut world = World::new();
            let close = closes.then_some(Step::Close);
            for step in before.into_iter().chain(close).chain(after) {
                world.step(step).await;
            }
            Box::pin(world.end()).await;
        });
    }
}
