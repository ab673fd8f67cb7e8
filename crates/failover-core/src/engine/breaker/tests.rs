use super::*;

pub(super) fn policy() -> BreakerPolicy {
    BreakerPolicy {
        enabled: true,
        failure_threshold: 5,
        recovery: Duration::from_secs(5),
        max_recovery: Duration::from_secs(60),
        jitter: 0.2,
        half_open_calls: Some(3),
        half_open_wait: Duration::from_secs(30),
        success_threshold: Some(2),
        failure_rate: None,
    }
}

/// The default policy: probe calls one by one, and a growing number of successes.
fn spaced() -> BreakerPolicy {
    BreakerPolicy { half_open_calls: None, success_threshold: None, ..policy() }
}

fn secs(seconds: u64) -> Time {
    Time::from_nanos(seconds * 1_000_000_000)
}

fn millis(millis: u64) -> Time {
    Time::from_nanos(millis * 1_000_000)
}

/// A breaker driven by letters: S and F report with the newest admission. A suspect breaker opens,
/// as if it were the only one.
struct Driven {
    breaker: Breaker,
    admission: Admission,
    policy: BreakerPolicy,
    now: Time,
}

impl Driven {
    fn new(policy: BreakerPolicy) -> Self {
        let breaker = Breaker::NEW;
        Self { breaker, admission: breaker.admission(false), policy, now: secs(1) }
    }

    fn step(&mut self, input: Input) -> Decision {
        let (next, decision) = self.breaker.on(input, self.now, &self.policy, 0.0);
        self.breaker = next;
        match decision {
            Decision::Admitted(admission) => self.admission = admission,
            Decision::Suspect => drop(self.step(Input::Open { level: self.breaker.level })),
            _ => {}
        }
        decision
    }

    fn admit(&mut self) -> bool {
        matches!(self.step(Input::Admit { repeated: true }), Decision::Admitted(_))
    }

    fn admit_unrepeated(&mut self) -> bool {
        matches!(self.step(Input::Admit { repeated: false }), Decision::Admitted(_))
    }

    /// Each letter is one admitted call with that result.
    fn calls(&mut self, letters: &str) -> BreakerState {
        for letter in letters.chars() {
            self.admit();
            let admission = self.admission;
            self.step(match letter {
                'S' => Input::Success(admission),
                'O' => Input::Overload(admission),
                _ => Input::Failure(admission),
            });
        }
        self.breaker.state()
    }

    /// Waits until the breaker is due, and returns the time that it was open.
    fn until_due(&mut self) -> Duration {
        let Phase::Open { until } = self.breaker.phase else { panic!("open") };
        let waited = until.since(self.now);
        self.now = until;
        waited
    }

    /// Closes an open breaker with spaced probe calls, and returns how many it took.
    fn recover(&mut self) -> u32 {
        let mut probes = 0;
        while self.breaker.state() != BreakerState::Closed {
            assert!(self.admit());
            self.step(Input::Success(self.admission));
            self.now = self.now + SPACING;
            probes += 1;
        }
        probes
    }
}

#[test]
fn failures_count_three_and_successes_one() {
    for (letters, expected) in [
        ("FFFF", BreakerState::Closed),
        ("FFFFF", BreakerState::Open),
        ("SFFFFF", BreakerState::Open),
        ("FFFFSF", BreakerState::Closed),
        ("FFFFSFF", BreakerState::Open),
        // Half of the calls fail.
        ("FSFSFSFSFSFSF", BreakerState::Open),
        ("FSFSFSFSFSFS", BreakerState::Closed),
        // A quarter of the calls fail.
        ("FSSSFSSSFSSSFSSSFSSSFSSSFSSSFSSSFSSSFSSSFSSSFSSS", BreakerState::Closed),
    ] {
        assert_eq!(Driven::new(policy()).calls(letters), expected, "{letters}");
    }
}

#[test]
fn a_configured_threshold_of_one_opens_at_the_first_failure() {
    let policy = BreakerPolicy { failure_threshold: 1, ..policy() };
    assert_eq!(Driven::new(policy).calls("SSSF"), BreakerState::Open);
}

#[test]
fn five_overload_answers_in_a_row_make_it_suspect_and_do_not_count_as_failures() {
    for (letters, suspect) in [("OOOO", false), ("OOOOO", true), ("OOOOSO", false), ("OOOOFFFFO", true)] {
        let mut driven = Driven::new(policy());
        let before = &letters[..letters.len() - 1];
        assert_eq!(driven.calls(before), BreakerState::Closed, "{letters}");
        let expected = if suspect { BreakerState::Open } else { BreakerState::Closed };
        assert_eq!(driven.calls(&letters[letters.len() - 1..]), expected, "{letters}");
    }
}

#[test]
fn linkerds_consecutive_failures_table_holds() {
    // Threshold 2, back-off 1 s: F F opens the breaker; after 1 s there is exactly one permit; F
    // opens it for 2 s; a late success in the open phase is ignored; then S closes the breaker.
    let policy = BreakerPolicy {
        failure_threshold: 2,
        recovery: Duration::from_secs(1),
        half_open_calls: Some(1),
        success_threshold: Some(1),
        ..policy()
    };
    let mut driven = Driven::new(policy);
    let first = driven.admission;
    assert_eq!(driven.calls("FF"), BreakerState::Open);
    assert!(!driven.admit());
    driven.now = secs(2);
    assert!(driven.admit());
    assert!(!driven.admit(), "one permit only");
    driven.step(Input::Failure(driven.admission));
    driven.now = secs(3);
    assert!(!driven.admit(), "open for 2 s now");
    assert_eq!(driven.step(Input::Success(first)), Decision::Ignored);
    assert_eq!(driven.breaker.state(), BreakerState::Open);
    driven.now = secs(4);
    assert!(driven.admit());
    driven.step(Input::Success(driven.admission));
    assert_eq!(driven.breaker.state(), BreakerState::Closed);
}

#[test]
fn the_open_time_doubles_up_to_its_maximum() {
    let mut driven = Driven::new(policy());
    driven.calls("FFFFF");
    let mut waits = Vec::new();
    for _ in 0..8 {
        waits.push(driven.until_due().as_secs());
        driven.calls("F");
    }
    assert_eq!(waits, [5, 10, 20, 40, 60, 60, 60, 60]);
}

#[test]
fn a_breaker_that_opens_again_soon_stays_open_longer_and_needs_more_successes() {
    let mut driven = Driven::new(spaced());
    let mut found = Vec::new();
    for _ in 0..5 {
        driven.calls("FFFFF");
        found.push((driven.until_due().as_secs(), driven.recover()));
    }
    assert_eq!(found, [(5, 2), (10, 4), (20, 8), (40, 8), (60, 8)]);
}

#[test]
fn the_level_falls_by_one_for_each_minute_without_an_opening() {
    for (seconds, expected) in [(0, 4), (59, 4), (60, 3), (179, 2), (240, 0), (1_000_000, 0)] {
        assert_eq!(BreakerPolicy::decayed(4, Duration::from_secs(seconds)), expected, "{seconds}");
    }
}

#[test]
fn jitter_lengthens_the_open_time_by_at_most_its_share() {
    let policy = policy();
    for level in [0, 1, 4, 31, 40, 255] {
        let base = policy.open_time(level, 0.0);
        let most = policy.open_time(level, 1.0);
        assert!(base <= Duration::from_secs(60));
        assert_eq!(most, base.mul_f64(1.2));
    }
}

#[test]
fn success_threshold_closes_and_a_failure_before_it_opens_again() {
    for (letters, expected) in
        [("S", BreakerState::HalfOpen), ("SS", BreakerState::Closed), ("SF", BreakerState::Open)]
    {
        let mut driven = Driven::new(policy());
        driven.calls("FFFFF");
        driven.now = secs(6);
        assert_eq!(driven.calls(letters), expected, "{letters}");
    }
}

/// resilience4j's half-open state: 50 % of four calls.
#[test]
fn with_a_failure_rate_a_half_open_round_is_judged_by_it() {
    let rate = |rate| BreakerPolicy {
        half_open_calls: Some(4),
        success_threshold: Some(4),
        failure_rate: Some(rate),
        ..policy()
    };
    for (share, round, expected) in [
        (0.5, "FSSS", BreakerState::Closed),
        (0.5, "SSSF", BreakerState::Closed),
        // Decided as soon as the round cannot end otherwise.
        (0.5, "FF", BreakerState::Open),
        (0.5, "FSF", BreakerState::Open),
        (0.5, "FSS", BreakerState::HalfOpen),
        (0.5, "SSS", BreakerState::HalfOpen),
        (1.0, "FFFS", BreakerState::Closed),
        (1.0, "FFFF", BreakerState::Open),
        (0.01, "SSSF", BreakerState::Open),
    ] {
        let mut driven = Driven::new(rate(share));
        driven.step(Input::Open { level: 0 });
        driven.now = secs(10);
        for letter in round.chars() {
            assert!(driven.admit(), "{share} {round}");
            let admission = driven.admission;
            driven.step(if letter == 'S' { Input::Success(admission) } else { Input::Failure(admission) });
        }
        assert_eq!(driven.breaker.state(), expected, "{share} {round}");
    }
}

#[test]
fn ignored_results_return_the_permit_and_do_not_count() {
    let mut driven = Driven::new(policy());
    driven.calls("FFFFF");
    driven.now = secs(6);
    for _ in 0..100 {
        assert!(driven.admit());
        driven.step(Input::Release(driven.admission));
    }
    assert_eq!(driven.breaker.state(), BreakerState::HalfOpen);
    let Phase::HalfOpen { calls, successes, .. } = driven.breaker.phase else { panic!("half-open") };
    assert_eq!((calls, successes), (0, 0));
}

#[test]
fn probe_calls_begin_one_after_another_and_half_a_second_apart() {
    let mut driven = Driven::new(spaced());
    driven.calls("FFFFF");
    driven.now = secs(6);
    assert!(driven.admit());
    driven.now = secs(7);
    assert!(!driven.admit(), "the first one has not ended");
    driven.step(Input::Release(driven.admission));
    assert!(driven.admit());
    driven.step(Input::Success(driven.admission));
    driven.now = millis(7_499);
    assert!(!driven.admit());
    driven.now = millis(7_500);
    assert!(driven.admit());
}

#[test]
fn a_call_that_cannot_be_repeated_waits_one_more_open_time_unless_a_probe_call_has_succeeded() {
    let mut driven = Driven::new(spaced());
    driven.calls("FFFFF");
    driven.now = secs(6);
    assert!(!driven.admit_unrepeated());
    driven.now = secs(11);
    assert!(driven.admit_unrepeated());
    driven.step(Input::Success(driven.admission));
    driven.now = millis(11_500);
    assert!(driven.admit_unrepeated());
    driven.step(Input::Failure(driven.admission));
    assert_eq!(driven.until_due(), Duration::from_secs(10));
    assert!(!driven.admit_unrepeated());
    driven.now = driven.now + Duration::from_secs(10);
    assert!(driven.admit_unrepeated());
}

#[test]
fn probe_calls_that_never_answer_open_it_again_after_the_maximum_wait() {
    let mut driven = Driven::new(policy());
    driven.calls("FFFFF");
    driven.now = secs(6);
    while driven.admit() {}
    driven.now = secs(35);
    assert!(!driven.admit());
    assert_eq!(driven.breaker.state(), BreakerState::HalfOpen);
    driven.now = secs(36);
    assert!(!driven.admit());
    assert_eq!(driven.breaker.state(), BreakerState::Open);
    assert_eq!(driven.step(Input::Success(driven.admission)), Decision::Ignored, "the late answer");
}

#[test]
fn a_call_without_a_permit_closes_it_by_a_success_and_changes_nothing_by_failures() {
    let mut driven = Driven::new(policy());
    driven.calls("FFFFF");
    let open = driven.breaker;
    let beyond = open.admission(false);
    for input in [Input::Failure(beyond), Input::Overload(beyond), Input::Release(beyond)] {
        assert_eq!(driven.step(input), Decision::Counted);
        assert_eq!(driven.breaker, open);
    }
    driven.step(Input::Success(beyond));
    assert_eq!(driven.breaker.state(), BreakerState::Closed);
}

#[test]
fn an_open_breaker_becomes_due_and_a_closed_one_stays_closed() {
    let mut driven = Driven::new(policy());
    let due = |at| Input::Due { at, level: 0 };
    assert_eq!(driven.step(due(secs(1))), Decision::Ignored);
    driven.calls("FFFFF");
    driven.step(due(secs(3)));
    assert_eq!((driven.breaker.phase, driven.breaker.level), (Phase::Open { until: secs(3) }, 0));
    driven.step(due(secs(5)));
    assert_eq!(driven.breaker.phase, Phase::Open { until: secs(3) }, "never later");
}

#[test]
fn closing_forgets_the_score_and_lowers_the_level() {
    let mut driven = Driven::new(policy());
    driven.calls("FFFF");
    driven.step(Input::Close);
    assert_eq!(driven.calls("FFFF"), BreakerState::Closed);
    driven.calls("F");
    assert_eq!(driven.breaker.level, 1);
    driven.step(Input::Close);
    assert_eq!((driven.breaker.state(), driven.breaker.level), (BreakerState::Closed, 0));
}

#[test]
fn a_breaker_that_is_switched_off_never_opens() {
    let mut driven = Driven::new(BreakerPolicy { enabled: false, ..policy() });
    assert_eq!(driven.calls(&"FO".repeat(1000)), BreakerState::Closed);
}

#[test]
fn generations_wrap_without_a_gap() {
    let mut driven = Driven::new(policy());
    driven.breaker.generation = GENERATIONS - 1;
    driven.calls("FFFFF");
    assert_eq!((driven.breaker.state(), driven.breaker.generation), (BreakerState::Open, 0));
}
