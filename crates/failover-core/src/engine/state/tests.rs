use super::*;

/// Returns the state of an endpoint.
fn in_use() -> EndpointState {
    let state = EndpointState::new();
    state.set(
        &Arc::new(Endpoint::builder("a", "users", "10.0.0.1", 80).build().expect("valid")),
        1,
        &ControlLock::new(),
    );
    state
}

#[test]
fn what_a_pick_compares_and_a_success_writes_is_one_cache_line() {
    assert_eq!((size_of::<HotState>(), align_of::<HotState>()), (64, 64));
    assert!(size_of::<EndpointState>() <= 256, "{}", size_of::<EndpointState>());
}

#[test]
fn a_cancelled_call_counts_and_says_nothing_about_time() {
    let state = EndpointState::new();
    state.begin();
    state.begin();
    state.end(Some(AttemptClass::Success), 3_000_000, Timing::Each);
    assert_eq!(state.in_flight(), 1);
    state.end(None, 9_000_000_000, Timing::Each);
    let counters = state.counters().ended;
    assert_eq!((counters.of(AttemptClass::Success), counters.cancelled(), counters.total()), (1, 1, 2));
    assert!(state.is_idle());
}

#[test]
fn threads_at_one_cell_lose_no_count_and_leave_a_fair_sample_of_times() {
    let state = in_use();
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let state = &state;
            scope.spawn(move || {
                for call in 0..16_000 {
                    state.begin();
                    state.end(Some(AttemptClass::Success), (10 + thread + call % 3) * 1_000, Timing::Each);
                    if call % 1_000 == 0 {
                        state.times_into(&mut Times::none());
                    }
                }
            });
        }
    });
    assert_eq!(state.counters().ended.of(AttemptClass::Success), 64_000);
    let mut times = Times::none();
    state.times_into(&mut times);
    // Threads that do nothing else lose the most.
    assert!((2_000..70_000).contains(&times.total()), "{}", times.total());
    let latency = times.latency().expect("recorded");
    assert!(latency.p50.abs_diff(Duration::from_micros(12)) < Duration::from_micros(1), "{latency:?}");
}

#[test]
fn every_time_of_a_single_thread_counts_once() {
    let state = in_use();
    for calls in 1..=100 {
        state.begin();
        state.end(Some(AttemptClass::Success), calls * 1_000_000, Timing::Each);
        let mut times = Times::none();
        if calls % 9 == 0 || calls == 100 {
            state.times_into(&mut times);
            assert_eq!(times.total(), calls);
        }
    }
}

#[test]
fn a_time_counts_as_often_as_the_calls_that_it_stands_for() {
    let state = in_use();
    let mut expected = 0;
    // More than a byte and a table entry hold.
    for call in 0..2_000_u64 {
        for timing in [Timing::Each, Timing::Skipped, Timing::Sample, Timing::Skipped] {
            state.begin();
            state.succeed((1 + call % 3) * 1_000_000, timing);
            expected += u64::from(timing.weight());
        }
    }
    let mut times = Times::none();
    state.times_into(&mut times);
    assert_eq!((times.total(), state.successes()), (expected, 8_000));
    let durations = state.counters().durations;
    assert_eq!(durations.count(), expected);
    assert!(
        durations.sum().abs_diff(Duration::from_millis(2 * expected)) < Duration::from_millis(expected / 20)
    );
}

#[test]
fn every_class_has_a_count_of_its_own() {
    let state = EndpointState::new();
    let endings = AttemptClass::ALL.map(Some).into_iter().chain([None]);
    for (class, times) in endings.zip(1..) {
        for _ in 0..times {
            state.begin();
            state.end(class, 0, Timing::Each);
        }
    }
    let counters = state.counters().ended;
    assert_eq!(AttemptClass::ALL.map(|class| counters.of(class)), [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(counters.cancelled(), 8);
    assert_eq!(counters.failures(), 2 + 3 + 4 + 5);
}
