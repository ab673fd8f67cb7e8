//! Compares updates by change with updates by whole answer.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use crate::config::FailoverConfig;
use crate::discovery::diff::Change;
use crate::discovery::{Answered, Update};
use crate::engine::{Engine, SourceId};
use crate::events::Event;
use crate::model::endpoint::{Endpoint, EndpointEntry, ServiceName};
use crate::model::health::Health;
use crate::runtime::clock::Clock;
use crate::runtime::random::Random;

fn engine() -> (Engine, SourceId) {
    let name = ServiceName::new("users").expect("valid");
    let config = Arc::new(FailoverConfig::default());
    let engine = Engine::new(name, config, Clock::system(), Random::seeded(1), None).expect("valid");
    let source = engine.add_source(Arc::from("test"), 0);
    (engine, source)
}

/// Number and health of endpoints, in arbitrary order.
fn entries(answer: &[(u8, bool)]) -> Vec<EndpointEntry> {
    let entry = |(number, well): &(u8, bool)| {
        let endpoint = Endpoint::builder(format!("e{number}"), "users", format!("10.0.0.{number}"), 80);
        let health = if *well { Health::Healthy } else { Health::Unhealthy };
        EndpointEntry::new(endpoint.build().expect("valid")).with_health(health)
    };
    answer.iter().map(entry).collect()
}

fn emitted(engine: &Engine) -> Vec<String> {
    let line = |event: &Arc<Event>| format!("{} {}", event.kind, event.reason);
    engine.events.newest(1_000).iter().map(line).collect()
}

proptest! {
    #[test]
    fn a_change_does_what_the_whole_answer_does(
        answers in prop::collection::vec(
            prop::collection::hash_map(1_u8..12, any::<bool>(), 1..8).prop_map(|all| all.into_iter().collect::<Vec<_>>()),
            1..12,
        ),
    ) {
        let ((whole, of_whole), (parts, of_parts)) = (engine(), engine());
        let mut last = Vec::new();
        for answer in &answers {
            let mut now = entries(answer);
            whole.publish(of_whole, now.clone(), false, Duration::ZERO);
            let change = Change::between(&last, &mut now);
            match change.parts(&last, &now) {
                _ if change.is_none() => parts.update(of_parts, Update::Unchanged, Some(Answered::default())),
                Some((gone, come)) => parts.update(of_parts, Update::Change { gone, come }, Some(Answered::default())),
                None => parts.publish(of_parts, now.clone(), false, Duration::ZERO),
            }
            prop_assert_eq!(parts.source_entries(of_parts), whole.source_entries(of_whole));
            prop_assert_eq!(emitted(&parts), emitted(&whole));
            last = now;
        }
    }
}
