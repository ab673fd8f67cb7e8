//! Totals that a scraper reads never decrease, whatever the list of endpoints does meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};

use failover_core::{Outcome, ServiceHandle};

/// The numbers of the service as a whole: calls by their end, attempts, and durations by bucket.
fn totals(users: &ServiceHandle) -> Vec<u64> {
    let stats = users.stats();
    let durations = [&stats.attempt_durations, &stats.call_durations];
    let buckets = durations.map(|of| of.buckets().map(|bucket| bucket.count).collect::<Vec<_>>());
    let mut totals = vec![
        stats.successful_requests,
        stats.failed_requests,
        stats.failed_requests - stats.refused,
        stats.attempts.total(),
        stats.recoveries,
    ];
    totals.extend(durations.map(failover_core::inspect::Durations::count));
    totals.extend(buckets.into_iter().flatten());
    totals
}

#[test]
fn totals_never_decrease_while_endpoints_come_and_go() {
    let lists =
        [["10.0.0.1:80", "10.0.0.2:80"], ["10.0.0.2:80", "10.0.0.3:80"], ["10.0.0.4:80", "10.0.0.1:80"]];
    let users = ServiceHandle::fixed("users", lists[0]).expect("valid");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let calling: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    for call in 0..100_000_u32 {
                        let outcome = if call % 7 == 0 { Outcome::Failure } else { Outcome::Success };
                        if let Ok(pick) = users.select() {
                            pick.finish(outcome);
                        }
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            for list in lists.iter().cycle() {
                if done.load(Ordering::Relaxed) {
                    break;
                }
                users.replace_endpoints(*list).expect("valid");
                // At times there is none, so that calls are refused.
                users.replace_endpoints::<[&str; 0]>([]).expect("valid");
            }
        });
        scope.spawn(|| {
            let mut before = totals(&users);
            while !done.load(Ordering::Relaxed) {
                let now = totals(&users);
                for (number, (now, before)) in now.iter().zip(&before).enumerate() {
                    if now < before {
                        done.store(true, Ordering::Relaxed);
                        panic!("number {number} fell from {before} to {now}");
                    }
                }
                before = now;
            }
        });
        for thread in calling {
            thread.join().expect("no panic");
        }
        done.store(true, Ordering::Relaxed);
    });
    let stats = users.stats();
    assert!(stats.attempts.total() > 0 && stats.refused > 0, "{stats:?}");
}
