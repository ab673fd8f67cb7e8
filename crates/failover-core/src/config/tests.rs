pub(crate) mod refusals;

use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{EndpointId, ErrorKind};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Parses through both entry points, which must agree.
fn read(json: &Value) -> Result<FailoverConfig, String> {
    let plain = serde_json::from_value::<FailoverConfig>(json.clone()).map_err(|error| error.to_string());
    let typed = FailoverConfig::from_json(&json.to_string()).map_err(|error| {
        assert_eq!(error.kind(), ErrorKind::Validation);
        error.to_string()
    });
    assert_eq!(plain, typed);
    plain
}

#[test]
fn nothing_set_is_every_default_of_the_design() {
    let config = FailoverConfig::builder().build().unwrap();
    assert_eq!(config, FailoverConfig::default());
    assert_eq!(config.strategy(), StrategyKind::RoundRobin);
    assert_eq!(config.algorithm(), Algorithm::RoundRobin);
    assert!(!config.probe_endpoints());
    assert_eq!(config.max_retries(), 2);
    assert_eq!(config.retry_delay(), ms(25));
    assert_eq!(config.timeout(), secs(30));
    assert_eq!(config.attempt_timeout(), secs(10));
    assert!(!config.fail_fast());
    assert_eq!((config.panic_threshold(), config.slow_start().window()), (0, Duration::ZERO));
    assert_eq!(config.locality(), None);
    assert_eq!(config.empty_policy(), EmptyPolicy::Hold(secs(300)));
    assert!(config.metadata().is_empty());

    let breaker = config.circuit_breaker();
    assert!(breaker.enabled());
    assert_eq!(breaker.failure_threshold(), 5);
    assert_eq!(breaker.recovery_timeout(), secs(5));
    assert_eq!(breaker.max_recovery_timeout(), secs(60));
    assert!((breaker.jitter() - 0.2).abs() < f64::EPSILON);
    assert_eq!(breaker.half_open_max_calls(), None);
    assert_eq!(breaker.half_open_max_wait(), None);
    assert_eq!(breaker.success_threshold(), None);
    assert_eq!(breaker.min_available(), None);

    let balancer = config.load_balancer();
    assert_eq!((balancer.algorithm(), balancer.weights().len(), balancer.sticky()), (None, 0, false));
    assert!((config.backoff().multiplier() - 2.0).abs() < f64::EPSILON);
    assert_eq!(config.backoff().max_delay(), ms(250));
    let budget = config.retry_budget();
    assert!(budget.enabled());
    assert_eq!((budget.capacity(), budget.retry_cost(), budget.success_deposit()), (500, 5, 1));
}

#[test]
fn without_an_algorithm_it_is_the_one_of_the_strategys_name() {
    for (strategy, algorithm) in [
        (StrategyKind::RoundRobin, Algorithm::RoundRobin),
        (StrategyKind::Random, Algorithm::Random),
        (StrategyKind::Weighted, Algorithm::Weighted),
        (StrategyKind::LeastConnections, Algorithm::LeastConnections),
        (StrategyKind::IpHash, Algorithm::IpHash),
        (StrategyKind::HealthBased, Algorithm::PeakEwma),
        (StrategyKind::Geographic, Algorithm::LeastConnections),
        (StrategyKind::Custom, Algorithm::RoundRobin),
    ] {
        let config = FailoverConfig::builder().strategy(strategy).build().unwrap();
        assert_eq!(config.algorithm(), algorithm, "{strategy}");
        let balancer = LoadBalancerConfig::builder().algorithm(Algorithm::Weighted).build().unwrap();
        let config = config.to_builder().load_balancer(balancer).build().unwrap();
        assert_eq!(config.algorithm(), Algorithm::Weighted, "{strategy}");
    }
}

/// As `encoding/json` writes a `FailoverConfig` without any field set.
#[test]
fn the_zero_values_of_the_go_package_read_as_absent() {
    for json in [
        json!({}),
        json!({
            "strategy": "", "health_check": false, "max_retries": 0, "retry_delay": 0, "circuit_breaker": null,
            "load_balancer": null, "timeout": 0, "metadata": null,
        }),
        json!({
            "strategy": null, "health_check": null, "max_retries": null, "retry_delay": null,
            "circuit_breaker": {
                "failure_threshold": 0, "recovery_timeout": 0, "half_open_max_calls": 0, "success_threshold": 0,
                "max_recovery_timeout": 0, "half_open_max_wait": null, "enabled": null, "jitter": null,
            },
            "load_balancer": {"algorithm": "", "weights": null, "sticky": false},
            "timeout": null, "attempt_timeout": 0, "backoff": {"multiplier": 0, "max_delay": 0},
            "retry_budget": {"capacity": 0, "retry_cost": 0, "success_deposit": 0},
            "empty_policy": "", "metadata": {},
        }),
        json!({"empty_policy": {"hold": 0}, "backoff": null, "retry_budget": null, "fail_fast": null}),
    ] {
        assert_eq!(read(&json).unwrap(), FailoverConfig::default(), "{json}");
    }
}

/// The quick start of the Go package's README, after `encoding/json`.
#[test]
fn the_quick_start_of_the_go_package_is_read_as_meant() {
    let go = json!({
        "strategy": "round_robin", "health_check": true, "max_retries": 3, "retry_delay": 1_000_000_000_u64,
        "circuit_breaker": {
            "failure_threshold": 5, "recovery_timeout": 30_000_000_000_u64, "half_open_max_calls": 3,
            "success_threshold": 0,
        },
        "load_balancer": {
            "algorithm": "round_robin", "weights": {"service-1": 1, "service-2": 1}, "sticky": false,
        },
        "timeout": 0, "metadata": null,
    });
    let config = read(&go).unwrap();
    assert!(config.probe_endpoints());
    assert_eq!(config.max_retries(), 3);
    assert_eq!(config.retry_delay(), secs(1));
    assert_eq!(
        config.backoff().max_delay(),
        secs(1),
        "the default cap must not cut the wait that is asked for"
    );
    assert_eq!(config.circuit_breaker().recovery_timeout(), secs(30));
    assert_eq!(config.circuit_breaker().max_recovery_timeout(), secs(60));
    assert_eq!(config.circuit_breaker().success_threshold(), None);
    assert_eq!(config.load_balancer().algorithm(), Some(Algorithm::RoundRobin));
    assert_eq!(config.load_balancer().weights()[&EndpointId::new("service-2").unwrap()], 1);
    assert_eq!(config.timeout(), secs(30));
    assert_eq!(config.attempt_timeout(), ms(7500));
}

#[test]
fn a_zero_that_is_meant_comes_back_as_one() {
    let breaker = CircuitBreakerConfig::builder().min_available(0).jitter(0.0).build().unwrap();
    let config = FailoverConfig::builder()
        .max_retries(0)
        .retry_delay(Duration::ZERO)
        .circuit_breaker(breaker)
        .backoff(BackoffConfig::builder().max_delay(Duration::ZERO).build().unwrap())
        .load_balancer(LoadBalancerConfig::builder().weight("a", 0).build().unwrap())
        .build()
        .unwrap();
    assert_eq!(config.attempt_timeout(), config.timeout());
    let json = serde_json::to_value(&config).unwrap();
    assert_eq!(json["max_retries"], -1);
    assert_eq!(json["retry_delay"], "0s");
    assert_eq!(read(&json).unwrap(), config);
}

#[test]
fn a_longer_recovery_timeout_takes_the_default_longest_one_with_it() {
    let breaker = CircuitBreakerConfig::default().to_builder().recovery_timeout(secs(120)).build().unwrap();
    assert_eq!(breaker.max_recovery_timeout(), secs(120));
    let breaker = breaker.to_builder().recovery_timeout(secs(1)).build().unwrap();
    assert_eq!(breaker.max_recovery_timeout(), secs(60));
}

#[test]
fn a_configured_cap_on_the_wait_is_kept() {
    let backoff = BackoffConfig::builder().max_delay(ms(100)).build().unwrap();
    let config = FailoverConfig::builder().retry_delay(secs(1)).backoff(backoff).build().unwrap();
    assert_eq!(config.backoff().max_delay(), ms(100));
    let config = config.to_builder().backoff(BackoffConfig::default()).build().unwrap();
    assert_eq!(config.backoff().max_delay(), secs(1));
    let config = config.to_builder().retry_delay(ms(1)).build().unwrap();
    assert_eq!(config.backoff().max_delay(), ms(250));
}

#[test]
fn what_is_written_has_words_and_no_nulls() {
    let json = serde_json::to_value(FailoverConfig::default()).unwrap();
    assert_eq!(
        json,
        json!({
            "strategy": "round_robin", "health_check": false,
            "probe": "auto",
            "removal_guard": "off", "max_retries": 2, "retry_delay": "25ms",
            "circuit_breaker": {
                "enabled": true, "failure_threshold": 5, "recovery_timeout": "5s", "jitter": 0.2,
                "failure_rate_window": "20s", "failure_rate_attempts": 20, "max_ejected": 0.5, "freeze_time": "30s",
            },
            "load_balancer": {"sticky": false}, "timeout": "30s", "backoff": {"multiplier": 2.0},
            "retry_budget": {"enabled": true, "capacity": 500, "retry_cost": 5, "success_deposit": 1, "max_ambiguous": 0.1},
            "outlier_detection": {
                "enabled": true, "interval": "10s", "min_endpoints": 5, "min_attempts": 100, "deviations": 1.9,
                "failure_percentage": 85.0, "max_ejected": 0.1, "slow_percentage": 50.0,
            },
            "fail_fast": false, "panic_threshold": 0, "slow_start": {"window": "0s", "aggression": 1.0},
            "empty_policy": {"hold": "5m0s"},
        })
    );
    assert_eq!(serde_json::to_value(EmptyPolicy::Trust).unwrap(), json!("trust"));
    for word in StrategyKind::WORDS {
        let strategy: StrategyKind = word.parse().unwrap();
        assert_eq!(
            (strategy.to_string().as_str(), serde_json::to_value(strategy).unwrap()),
            (*word, json!(word))
        );
    }
    for word in Algorithm::WORDS {
        let algorithm: Algorithm = word.parse().unwrap();
        assert_eq!(serde_json::from_value::<Algorithm>(json!(word)).unwrap(), algorithm);
        assert_eq!(algorithm.as_str(), *word);
    }
}

/// Generates multiples of a thousandth: `serde_json` may parse the last bit of a number with 17
/// digits differently, unless it is built with `float_roundtrip`.
fn thousandths(range: std::ops::RangeInclusive<u32>) -> impl Strategy<Value = f64> {
    range.prop_map(|n| f64::from(n) / 1000.0)
}

fn times(range: std::ops::RangeInclusive<Duration>) -> impl Strategy<Value = Duration> {
    (range.start().as_nanos() as u64..=range.end().as_nanos() as u64).prop_map(Duration::from_nanos)
}

prop_compose! {
    fn breakers()(
        enabled: bool, counts in prop::array::uniform3(defaults::BREAKER_COUNT_RANGE), floor in prop::option::of(0_u32..=10_000),
        first in times(ms(10)..=secs(60)), longest in prop::option::of(times(secs(60)..=secs(3600))),
        wait in prop::option::of(times(defaults::RECOVERY_RANGE)), share in thousandths(1..=1000),
        freeze in times(defaults::FREEZE_RANGE), jitter in thousandths(0..=1000),
        rate in prop::option::of(thousandths(10..=1000)), window in times(secs(1)..=secs(3600)),
    ) -> CircuitBreakerConfig {
        CircuitBreakerConfig::builder().enabled(enabled).failure_threshold(counts[0])
            .half_open_max_calls(counts[1]).success_threshold(enabled.then_some(counts[2])).min_available(floor)
            .max_ejected(share).freeze_time(freeze).failure_rate(rate)
            .failure_rate_window(window).failure_rate_attempts(counts[2])
            .recovery_timeout(first).max_recovery_timeout(longest).half_open_max_wait(wait).jitter(jitter)
            .build().unwrap()
    }
}

prop_compose! {
    fn balancers()(
        word in prop::option::of(0..Algorithm::WORDS.len()), sticky: bool,
        weights in prop::collection::btree_map("[!-~]{1,20}", any::<u32>(), 0..4),
        limit in prop::option::of(defaults::IN_FLIGHT_RANGE), drain in times(defaults::STICKY_DRAIN_RANGE),
    ) -> LoadBalancerConfig {
        let algorithm: Option<Algorithm> = word.map(|n| Algorithm::WORDS[n].parse().unwrap());
        LoadBalancerConfig::builder().algorithm(algorithm).weights(weights).sticky(sticky).max_in_flight(limit)
            .sticky_drain_timeout(drain)
            .build().unwrap()
    }
}

prop_compose! {
    fn localities()(
        names in prop::array::uniform2("[!-~]{1,20}"), has_region: bool, is_there: bool,
        weights in prop::collection::btree_map("[!-~]{1,20}", defaults::ZONE_WEIGHT_RANGE, 0..4),
    ) -> Option<Locality> {
        let [region, zone] = names;
        let here = if has_region { Locality::new(region, zone) } else { Locality::zone_of(zone) };
        is_there.then(|| here.unwrap().with_zone_weights(weights).unwrap())
    }
}

prop_compose! {
    fn configs()(
        word in 0..StrategyKind::WORDS.len(), switches: (bool, bool), retries in 0_u32..=20,
        delay in times(defaults::RETRY_DELAY_RANGE), timeout in times(defaults::TIMEOUT_RANGE),
        own_attempt: bool, breaker in breakers(), balancer in balancers(), multiplier in thousandths(1000..=10_000),
        max_delay in prop::option::of(times(defaults::MAX_DELAY_RANGE)), budget in (1_u32..=1_000_000, 1_u32..=1000),
        hold in prop::option::of(times(defaults::EMPTY_HOLD_RANGE)), note in ".{0,9}", here in localities(),
    ) -> FailoverConfig {
        let has_floor = breaker.min_available().is_some_and(|floor| floor > 0);
        let fits = |time: Option<Duration>| time.is_none_or(|time| time >= timeout);
        let window = breaker.failure_rate().map(|_| breaker.failure_rate_window());
        let own_attempt = own_attempt && fits(breaker.half_open_max_wait()) && fits(window);
        FailoverConfig::builder().strategy(StrategyKind::WORDS[word].parse().unwrap())
            .probe_endpoints(switches.0).fail_fast(switches.1 && !has_floor).max_retries(retries).retry_delay(delay)
            .timeout(timeout).attempt_timeout(own_attempt.then_some(timeout)).circuit_breaker(breaker)
            .load_balancer(balancer)
            .backoff(BackoffConfig::builder().multiplier(multiplier).max_delay(max_delay).build().unwrap())
            .retry_budget(RetryBudgetConfig::builder().enabled(switches.0).capacity(budget.0)
                .retry_cost(budget.1.min(budget.0)).success_deposit(budget.1).build().unwrap())
            .empty_policy(hold.map_or(EmptyPolicy::Trust, EmptyPolicy::Hold)).locality(here)
            .metadata("note", note).metadata("nested", json!({"a": [1, null, 1.5, {"b": true}]}))
            .build().unwrap()
    }
}

proptest! {
    #[test]
    fn every_configuration_that_builds_comes_back(config in configs()) {
        let json = serde_json::to_string(&config).unwrap();
        prop_assert_eq!(&FailoverConfig::from_json(&json).unwrap(), &config);
        prop_assert_eq!(&serde_json::from_str::<FailoverConfig>(&json).unwrap(), &config);
        prop_assert_eq!(config.to_builder().build().unwrap(), config);
    }

    #[test]
    fn no_text_makes_it_panic(json in "\\PC{0,40}|\\{\"(timeout|backoff|weights)\":[-0-9a-z\\[{\"}\\]]{0,20}\\}") {
        let _ = FailoverConfig::from_json(&json);
    }
}
