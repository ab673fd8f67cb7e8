use super::*;

pub(super) fn policy() -> BreakerPolicy {
    BreakerPolicy {
        enabled: true,
        failure_threshold: 5,
        recovery: Duration::from_secs(5),
        max_recovery: Duration::from_secs(60),
        jitter: 0.2,
        half_open_calls: 3,
        half_open_wait: Duration::from_secs(30),
        success_threshold: 2,
    }
}

fn secs(seconds: u64) -> Time {
    Time::from_nanos(seconds * 1_000_000_000)
}

/// A breaker driven by letters: S and F report with the newest admission, A requests admission.
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
        if let Decision::Admitted(admission) = decision {
            self.admission = admission;
        }
        decision
    }

    fn admit(&mut self) -> bool {
        matches!(self.step(Input::Admit { early: false }), Decision::Admitted(_))
    }

    /// Each letter is one admitted call with that result.
    fn calls(&mut self, letters: &str) -> BreakerState {
        for letter in letters.chars() {
            self.admit();
            let admission = self.admission;
            self.step(if letter == 'S' { Input::Success(admission) } else { Input::Failure(admission) });
        }
        self.breaker.state()
    }
}

#[test]
fn consecutive_failures_open_and_a_success_between_them_does_not() {
    for (letters, expected) in [
        ("FFFF", BreakerState::Closed),
        ("FFFFF", BreakerState::Open),
        ("FFFFSFFFF", BreakerState::Closed),
        ("SFFFFF", BreakerState::Open),
        ("FFFFSFFFFF", BreakerState::Open),
    ] {
        assert_eq!(Driven::new(policy()).calls(letters), expected, "{letters}");
    }
}

#[test]
fn linkerds_consecutive_failures_table_holds() {
    // Threshold 2, back-off 1 s: F F opens the breaker; after 1 s there is exactly one permit; F
    // opens it for 2 s; a late success in the open phase is ignored; then S closes the breaker.
    let policy = BreakerPolicy {
        failure_threshold: 2,
        recovery: Duration::from_secs(1),
        half_open_calls: 1,
        success_threshold: 1,
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
    assert!(!driven.admit(), "shut for 2 s now");
    assert_eq!(driven.step(Input::Success(first)), Decision::Ignored);
    assert_eq!(driven.breaker.state(), BreakerState::Open);
    driven.now = secs(4);
    assert!(driven.admit());
    driven.step(Input::Success(driven.admission));
    assert_eq!(driven.breaker.state(), BreakerState::Closed);
    assert_eq!(driven.breaker.rounds, 0, "closing forgets the growth");
}

#[test]
fn the_open_time_doubles_up_to_its_maximum() {
    let mut driven = Driven::new(policy());
    driven.calls("FFFFF");
    let mut waits = Vec::new();
    for _ in 0..8 {
        let Phase::Open { until } = driven.breaker.phase else { panic!("open") };
        waits.push(until.since(driven.now).as_secs());
        driven.now = until;
        driven.calls("F");
    }
    assert_eq!(waits, [5, 10, 20, 40, 60, 60, 60, 60]);
}

#[test]
fn jitter_lengthens_the_open_time_by_at_most_its_share() {
    let policy = policy();
    for rounds in [0, 1, 4, 31, 40, 255] {
        let base = policy.open_time(rounds, 0.0);
        let most = policy.open_time(rounds, 1.0);
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
fn an_early_round_that_fails_does_not_grow_the_open_time() {
    let mut driven = Driven::new(policy());
    driven.calls("FFFFF");
    for _ in 0..20 {
        assert!(matches!(driven.step(Input::Admit { early: true }), Decision::Admitted(_)));
        driven.step(Input::Failure(driven.admission));
    }
    assert_eq!(driven.breaker.rounds, 0);
    assert_eq!(driven.breaker.phase, Phase::Open { until: secs(6) });
}

#[test]
fn a_breaker_that_is_switched_off_never_opens() {
    let mut driven = Driven::new(BreakerPolicy { enabled: false, ..policy() });
    assert_eq!(driven.calls(&"F".repeat(1000)), BreakerState::Closed);
}

#[test]
fn generations_wrap_without_a_gap() {
    let mut breaker = Breaker { generation: GENERATIONS - 1, ..Breaker::NEW };
    let admission = breaker.admission(false);
    for _ in 0..5 {
        breaker = breaker.on(Input::Failure(admission), secs(1), &policy(), 0.0).0;
    }
    assert_eq!((breaker.state(), breaker.generation), (BreakerState::Open, 0));
}
