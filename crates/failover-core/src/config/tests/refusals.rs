//! Every invalid value, and its error.

use super::*;

/// Invalid documents, each with the start and the end of its error.
const WRONG: &str = r#"
{"strategy": "fastest"}     => strategy: fastest ... health_based, geographic, custom
{"strategy": "peak_ewma"}   => strategy: peak_ewma ... geographic, custom
{"strategy": 1}             => strategy: 1 ... custom
{"health_check": "yes"}     => health_check: "yes" ... true or false
{"max_retries": -2}         => max_retries: -2 ... from 1 to 20, or -1 for none
{"max_retries": 21}         => max_retries: 21 ... from 1 to 20, or -1 for none
{"max_retries": 1.5}        => max_retries: 1.5 ... or -1 for none
{"max_retries": "3"}        => max_retries: "3" ... or -1 for none
{"retry_delay": "-1s"}      => retry_delay: "-1s" ... "1m30s"
{"retry_delay": "1x"}       => retry_delay: "1x" ... "1m30s"
{"retry_delay": ""}         => retry_delay: "" ... "1m30s"
{"retry_delay": "NaN"}      => retry_delay: "NaN" ... "1m30s"
{"retry_delay": "5m1ns"}    => retry_delay: "5m1ns" ... "1m30s"
{"retry_delay": -1}         => retry_delay: -1 ... nanoseconds)
{"retry_delay": 18446744073709551615}   => retry_delay: 18446744073709551615 ... nanoseconds)
{"retry_delay": "18446744073709551615"} => retry_delay: "18446744073709551615" ... "1m30s"
{"timeout": 30}             => timeout: 30 is ... such as "30s" (a bare number is nanoseconds)
{"timeout": "0s"}           => timeout: "0s" ... "1m30s"
{"timeout": "25h"}          => timeout: "25h" is not allowed; give a duration from 1ms to 24h ... "1m30s"
{"timeout": 1e30}           => timeout: 1e30 ... nanoseconds)
{"timeout": true}           => timeout: true ... nanoseconds)
{"timeout": {}}             => timeout: an object ... nanoseconds)
{"attempt_timeout": "31s"}  => attempt_timeout: 31s ... at most the timeout, 30s
{"attempt_timeout": "1us"}  => attempt_timeout: "1us" ... "1m30s"
{"fail_fast": 0}            => fail_fast: 0 ... true or false
{"empty_policy": "hold"}    => empty_policy: "hold" ... "trust" or {"hold": "5m"}
{"empty_policy": 5}         => empty_policy: 5 ... {"hold": "5m"}
{"empty_policy": {"hold": "8d"}}   => empty_policy.hold: "8d" ... "1m30s"
{"empty_policy": {"hold": "169h"}} => empty_policy.hold: "169h" ... "1m30s"
{"empty_policy": {"trust": true}}  => empty_policy.trust:  ... the empty policy knows hold
{"locality": {}}            => locality.zone:  ... 1 to 63 printable characters
{"locality": {"zone": "a", "zone_weights": {"b": 65536}}} => locality.zone_weights.b: 65536 ... from 0 to 65535
{"locality": {"zone": "a", "zone_weights": {"": 1}}}      => locality.zone_weights:  ... 1 to 63 printable characters
{"locality": {"zone": "a", "zone_weights": ["b"]}}        => locality.zone_weights: a list ... an object
{"metadata": []}            => metadata: a list ... an object
{"circuit_breaker": 5}      => circuit_breaker: a number ... an object
{"load_balancer": "random"} => load_balancer: a text ... an object
{"backoff": []}             => backoff: a list ... an object
{"retry_budget": false}     => retry_budget: a boolean ... an object
[]                          => configuration: a list ... an object
{"retries": 1}              => retries: unknown key ... empty_policy, removal_guard, metadata
{"max_retry": 1}            => max_retry: unknown key ... empty_policy, removal_guard, metadata
{"max-retries": 1}          => max-retries: unknown key ... did you mean max_retries?
{"Strategy": ""}            => Strategy: unknown key ... did you mean strategy?
"#;

/// The same for the sections: the name of a section, then its invalid documents.
const WRONG_SECTIONS: &str = r#"
circuit_breaker
{"failure_threshold": -1}   => failure_threshold: -1 ... from 1 to 10000
{"failure_threshold": 10001} => failure_threshold: 10001 ... from 1 to 10000
{"failure_threshold": "5"}  => failure_threshold: "5" ... from 1 to 10000
{"failure_threshold": 5.5}  => failure_threshold: 5.5 ... from 1 to 10000
{"success_threshold": 18446744073709551615} => success_threshold: 1844 ... from 1 to 10000
{"half_open_max_calls": -3} => half_open_max_calls: -3 ... from 1 to 10000
{"min_available": -1}       => min_available: -1 ... from 0 to 10000
{"recovery_timeout": "9ms"} => recovery_timeout: "9ms" ... "1m30s"
{"recovery_timeout": "2h"}  => recovery_timeout: "2h" ... "1m30s"
{"max_recovery_timeout": "4s"} => max_recovery_timeout: 4s ... recovery_timeout, 5s
{"max_ejected": -0.5}       => max_ejected: -0.5 ... from 0.001 to 1
{"max_ejected": 1.5}        => max_ejected: 1.5 ... from 0.001 to 1
{"freeze_time": "2h"}       => freeze_time: "2h" ... from 0s to 1h, such as "30s", "250ms" or "1m30s"
{"half_open_max_wait": -5}  => half_open_max_wait: -5 ... nanoseconds)
{"jitter": 1.1}             => jitter: 1.1 ... a number from 0 to 1
{"jitter": -0.1}            => jitter: -0.1 ... a number from 0 to 1
{"jitter": "NaN"}           => jitter: "NaN" ... a number from 0 to 1
{"enabled": "no"}           => enabled: "no" ... true or false
{"failure_treshold": 5}     => failure_treshold:  ... did you mean failure_threshold?
load_balancer
{"algorithm": "fastest"}    => algorithm: fastest ... reported_load, first
{"algorithm": "geographic"} => algorithm: geographic ... which goes into `strategy`
{"algorithm": "health_based"} => algorithm: health_based ... which goes into `strategy`
{"algorithm": "custom"}     => algorithm: custom ... which goes into `strategy`
{"algorithm": 1}            => algorithm: 1 ... reported_load, first
{"weights": {"a": -1}}      => weights.a: -1 ... 4294967295
{"weights": {"a": 1.5}}     => weights.a: 1.5 ... 4294967295
{"weights": {"a": null}}    => weights.a: null ... 4294967295
{"weights": {"a b": 1}}     => weights: endpoint id: a b ... white space
{"weights": [1]}            => weights: a list ... an object
{"sticky": 1}               => sticky: 1 ... true or false
{"weight": {}}              => weight:  ... did you mean weights?
backoff
{"multiplier": 0.5}         => multiplier: 0.5 ... a number from 1 to 10
{"multiplier": -2}          => multiplier: -2 ... a number from 1 to 10
{"multiplier": 11}          => multiplier: 11 ... a number from 1 to 10
{"multiplier": [2]}         => multiplier: a list ... a number from 1 to 10
{"max_delay": "6m"}         => max_delay: "6m" ... "1m30s"
{"factor": 2}               => factor:  ... knows multiplier, max_delay
retry_budget
{"capacity": -1}            => capacity: -1 ... from 1 to 1000000
{"capacity": 1000001}       => capacity: 1000001 ... from 1 to 1000000
{"retry_cost": 1001}        => retry_cost: 1001 ... from 1 to 1000
{"success_deposit": true}   => success_deposit: true ... from 1 to 1000
{"max_ambiguous": 2}        => max_ambiguous: 2 ... from 0 to 1
{"tokens": 5}               => tokens:  ... success_deposit, max_ambiguous
outlier_detection
{"interval": "0.5s"}        => interval: "0.5s" ... from 1s to 1h, such as "30s", "250ms" or "1m30s"
{"min_endpoints": 1}        => min_endpoints: 1 ... from 2 to 10000
{"min_attempts": -1}        => min_attempts: -1 ... from 1 to 1000000
{"deviations": 101}         => deviations: 101 ... from 0.1 to 100
{"failure_percentage": 101} => failure_percentage: 101 ... from 1 to 100
{"max_ejected": 1.1}        => max_ejected: 1.1 ... from 0 to 1
{"threshold": 5}            => threshold:  ... slow_call, slow_percentage
{"slow_call": "0.5ms"}      => slow_call: "0.5ms" ... from 1ms to 1h, such as "30s", "250ms" or "1m30s"
"#;

fn row(line: &str) -> Option<(Value, &str, &str)> {
    let (json, error) = line.split_once("=> ")?;
    let (starts, ends) = error.split_once(" ... ").unwrap();
    Some((serde_json::from_str(json).unwrap(), starts, ends))
}

#[test]
fn json_that_is_wrong_is_refused_with_the_full_field_and_the_value() {
    for (json, starts, ends) in WRONG.trim().lines().map(|line| row(line).unwrap()) {
        let error = read(&json).unwrap_err();
        assert!(error.starts_with(starts), "{json}: {error}");
        assert!(error.ends_with(ends), "{json}: {error}");
    }
}

#[test]
fn a_nested_value_that_is_wrong_is_refused_with_its_section() {
    let mut section = "";
    for line in WRONG_SECTIONS.trim().lines() {
        let Some((json, starts, ends)) = row(line) else {
            section = line;
            continue;
        };
        let error = read(&json!({ section: json.clone() })).unwrap_err();
        assert!(error.starts_with(&format!("{section}.{starts}")), "{json}: {error}");
        assert!(error.ends_with(ends), "{json}: {error}");
        let alone = match section {
            "circuit_breaker" => serde_json::from_value::<CircuitBreakerConfig>(json).err(),
            "load_balancer" => serde_json::from_value::<LoadBalancerConfig>(json).err(),
            "backoff" => serde_json::from_value::<BackoffConfig>(json).err(),
            "outlier_detection" => serde_json::from_value::<OutlierConfig>(json).err(),
            _ => serde_json::from_value::<RetryBudgetConfig>(json).err(),
        };
        assert_eq!(alone.unwrap().to_string(), error);
    }
    assert_eq!(
        read(&json!({"circuit_breaker": {"failure_threshold": -1}})).unwrap_err(),
        "circuit_breaker.failure_threshold: -1 is not allowed; give a whole number from 1 to 10000"
    );
}

#[test]
fn the_same_values_are_refused_from_code() {
    let error = |result: Result<FailoverConfig, crate::Error>| result.unwrap_err().to_string();
    let config = FailoverConfig::builder;
    for (builder, starts) in [
        (config().max_retries(21), "max_retries: 21"),
        (config().retry_delay(secs(301)), "retry_delay: 5m1s"),
        (config().timeout(Duration::ZERO), "timeout: 0s"),
        (config().timeout(Duration::MAX), "timeout: "),
        (config().timeout(secs(1)).attempt_timeout(secs(2)), "attempt_timeout: 2s"),
        (config().attempt_timeout(Duration::ZERO), "attempt_timeout: 0s"),
        (config().empty_policy(EmptyPolicy::Hold(Duration::ZERO)), "empty_policy.hold: 0s"),
    ] {
        let error = error(builder.build());
        assert!(error.starts_with(starts), "{error}");
    }

    let breaker = CircuitBreakerConfig::builder;
    for (builder, starts) in [
        (breaker().failure_threshold(0), "failure_threshold: 0"),
        (breaker().success_threshold(10_001), "success_threshold: 10001"),
        (breaker().half_open_max_calls(0), "half_open_max_calls: 0"),
        (breaker().min_available(10_001), "min_available: 10001"),
        (breaker().recovery_timeout(secs(3601)), "recovery_timeout: 1h0m1s"),
        (breaker().max_recovery_timeout(secs(4)), "max_recovery_timeout: 4s"),
        (breaker().half_open_max_wait(ms(9)), "half_open_max_wait: 9ms"),
        (breaker().jitter(f64::NAN), "jitter: NaN"),
        (breaker().jitter(-0.5), "jitter: -0.5"),
        (breaker().jitter(f64::INFINITY), "jitter: inf"),
    ] {
        let error = builder.build().unwrap_err().to_string();
        assert!(error.starts_with(&format!("circuit_breaker.{starts}")), "{error}");
    }

    for (multiplier, shown) in [
        (f64::NAN, "NaN"),
        (f64::INFINITY, "inf"),
        (f64::NEG_INFINITY, "-inf"),
        (-1.0, "-1"),
        (0.0, "0"),
        (10.5, "10.5"),
    ] {
        let error = BackoffConfig::builder().multiplier(multiplier).build().unwrap_err().to_string();
        assert_eq!(error, format!("backoff.multiplier: {shown} is not allowed; give a number from 1 to 10"));
    }
    let error = BackoffConfig::builder().max_delay(secs(301)).build().unwrap_err().to_string();
    assert!(error.starts_with("backoff.max_delay: 5m1s"), "{error}");

    let budget = RetryBudgetConfig::builder;
    for (builder, starts) in [
        (budget().capacity(0), "capacity: 0"),
        (budget().retry_cost(0), "retry_cost: 0"),
        (budget().success_deposit(1001), "success_deposit: 1001"),
        (budget().capacity(4), "retry_cost: 5 is not allowed; give at most the capacity, 4"),
    ] {
        let error = builder.build().unwrap_err().to_string();
        assert!(error.starts_with(&format!("retry_budget.{starts}")), "{error}");
    }
    let error = LoadBalancerConfig::builder().weight("a b", 1).build().unwrap_err().to_string();
    assert!(error.starts_with("load_balancer.weights: endpoint id: a b"), "{error}");
}

#[test]
fn text_that_is_not_json_is_refused_with_line_and_column() {
    for (json, place) in [
        ("", "line 1 column 0"),
        ("{\n  \"timeout\": 1s\n}", "line 2 column 15"),
        ("{\"jitter\": NaN}", "line 1 column 12"),
        ("{\"timeout\": 1e999}", "line 1 column 17"),
        ("{\n\"timeout\": 1,\n\"timeout\": 2}", "duplicate key \"timeout\" at line 3 column 13"),
        ("{} {}", "line 1 column 4"),
        (&"[".repeat(100_000), "recursion limit"),
    ] {
        let error = FailoverConfig::from_json(json).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Validation);
        assert!(error.to_string().starts_with("configuration is not valid JSON: "), "{error}");
        assert!(error.to_string().contains(place), "{error}");
    }
    assert_eq!(FailoverConfig::from_json("{\n x}").unwrap_err().details()["line"], 2);
}
