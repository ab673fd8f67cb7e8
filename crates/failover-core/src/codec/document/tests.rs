use super::*;

fn read(json: &str) -> Raw {
    serde_json::from_str(json).unwrap()
}

#[test]
fn a_key_that_is_not_known_is_named_with_the_nearest_one_that_is() {
    let known = ["failure_threshold", "recovery_timeout"];
    let open = |json| Document::open(read(json), "circuit_breaker", "circuit breaker", &known).err().unwrap();
    assert_eq!(
        open(r#"{"failure_treshold": 1}"#).to_string(),
        "circuit_breaker.failure_treshold: unknown key; did you mean failure_threshold?"
    );
    assert_eq!(
        open(r#"{"FailureThreshold": 1}"#).to_string(),
        "circuit_breaker.FailureThreshold: unknown key; \
         the circuit breaker knows failure_threshold, recovery_timeout"
    );
    let long = format!("{{\"{}\\n\": 1}}", "k".repeat(100_000));
    assert!(open(&long).to_string().len() < 300);
}

#[test]
fn a_duplicate_key_is_refused() {
    for json in [r#"{"a": 1, "a": 2}"#, r#"{"b": {"a": 1, "a": 1}}"#] {
        let error = serde_json::from_str::<Raw>(json).err().unwrap().to_string();
        assert!(error.contains("duplicate key \"a\""), "{error}");
    }
}

#[test]
fn null_is_absent_and_zero_is_absent_where_it_means_nothing() {
    let json = r#"{"a": null, "b": 0, "c": 0, "d": 0, "e": "0s", "f": "", "g": 0}"#;
    let mut fields = Document::open(read(json), "", "thing", &["a", "b", "c", "d", "e", "f", "g"]).unwrap();
    let times = Duration::ZERO..=Duration::from_secs(1);
    assert!(fields.take("a").is_none());
    assert_eq!(fields.whole("b", &(1..=9)).unwrap(), None);
    assert_eq!(fields.whole("c", &(0..=9)).unwrap(), Some(0));
    assert_eq!(fields.duration("d", &times).unwrap(), None);
    assert_eq!(fields.duration("e", &times).unwrap(), Some(Duration::ZERO));
    assert_eq!(fields.text("f").unwrap(), None);
    assert_eq!(fields.number("g", &(1.0..=2.0)).unwrap(), None);
    assert_eq!(fields.number("absent", &(1.0..=2.0)).unwrap(), None);
}

#[test]
fn numbers_are_read_when_some_crate_has_switched_arbitrary_precision_on() {
    let number = |text: &str| {
        let json = format!("{{\"{ARBITRARY_NUMBER}\": \"{text}\"}}");
        serde_json::from_str::<Raw>(&json).map(|raw| raw.to_string()).map_err(|error| error.to_string())
    };
    assert_eq!(number("12").unwrap(), "12");
    assert_eq!(number("-1.5").unwrap(), "-1.5");
    assert_eq!(number("18446744073709551616").unwrap(), "18446744073709551616");
    assert!(number("1e999").unwrap_err().contains("1e999"));
}

#[test]
fn a_value_that_is_not_finite_is_no_metadata() {
    for value in [f64::NAN, f64::INFINITY] {
        let nested = Raw::List(vec![Raw::Object(BTreeMap::from([("x".to_owned(), Raw::Float(value))]))]);
        let error = nested.into_json("metadata.a").unwrap_err().to_string();
        assert!(error.starts_with("metadata.a: "), "{error}");
        assert!(error.ends_with("give a finite number"), "{error}");
    }
}

#[test]
fn json_comes_back_as_it_went_in() {
    let json = serde_json::json!({"a": [1, -1, 1.5, "x", null, true, {"b": {}}], "c": u64::MAX});
    let raw: Raw = serde_json::from_value(json.clone()).unwrap();
    assert_eq!(raw.into_json("metadata").unwrap(), json);
}
