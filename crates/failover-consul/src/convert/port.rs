//! The port of an instance, of which newer servers know several with names.

use std::borrow::Cow;
use std::collections::BTreeMap;

use failover_core::Error;
use serde::Deserialize;
use serde_json::value::RawValue;

/// The key under which the metadata has the port with a name, before the name. No key of Consul has a
/// dot.
const PREFIX: &str = "port.";

/// A port with a name.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Named<'a> {
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    port: Option<i64>,
    default: Option<bool>,
}

/// The ports of an instance.
#[derive(Debug)]
pub(super) struct Ports<'a> {
    /// The one without a name; 0 if it has none.
    plain: i64,
    named: Vec<Named<'a>>,
}

impl<'a> Ports<'a> {
    /// Reads the ports. Named ports that cannot be read are ignored.
    pub(super) fn new(plain: Option<i64>, named: Option<&'a RawValue>) -> Self {
        let read =
            |raw: &'a RawValue| serde_json::from_str::<Option<Vec<Named<'a>>>>(raw.get()).ok().flatten();
        let mut named = named.and_then(read).unwrap_or_default();
        named.retain(|one| one.number().is_some());
        Self { plain: plain.unwrap_or(0), named }
    }

    /// Returns the port with this name or number; without a choice, the default one, or the only one.
    ///
    /// # Errors
    ///
    /// Returns an error that lists the ports if there is no such port.
    pub(super) fn choose(&self, choice: Option<&str>) -> Result<u16, Error> {
        let plain = u16::try_from(self.plain).ok().filter(|port| *port > 0);
        let found = match choice {
            Some(choice) => {
                let number = choice.parse::<u16>().ok();
                let is_it =
                    |one: &&Named<'_>| one.is_called(choice) || (number.is_some() && one.number() == number);
                let named = self.named.iter().find(is_it).and_then(Named::number);
                named.or_else(|| plain.filter(|port| number == Some(*port)))
            }
            None => {
                let default = self.named.iter().find(|one| one.default == Some(true)).and_then(Named::number);
                let only = match &self.named[..] {
                    [only] => only.number(),
                    _ => None,
                };
                default.or(plain).or(only)
            }
        };
        found.ok_or_else(|| match (choice, self.named.is_empty()) {
            (None, true) => Error::invalid("port", self.plain, "a number from 1 to 65535"),
            (None, false) => {
                Error::invalid("port", "none is the default", &format!("one of {}", self.list()))
            }
            (Some(choice), _) => Error::invalid("port", choice, &format!("one of {}", self.list())),
        })
    }

    /// Lists them, as in `http 8080, grpc 9090`.
    fn list(&self) -> String {
        const LISTED: usize = 8;
        let plain = (self.plain > 0).then(|| self.plain.to_string());
        let named = self.named.iter().filter_map(|one| {
            let name: String = one.name.as_deref().unwrap_or_default().chars().take(32).collect();
            Some(format!("{name} {}", one.number()?).trim().to_owned())
        });
        let all: Vec<_> = plain.into_iter().chain(named).take(LISTED).collect();
        if all.is_empty() { "those that it has: none".to_owned() } else { all.join(", ") }
    }

    /// Adds the named ports to the metadata.
    pub(super) fn note(&self, metadata: &mut BTreeMap<String, String>) {
        for one in &self.named {
            if let (Some(name), Some(port)) =
                (one.name.as_deref().filter(|name| !name.is_empty()), one.number())
            {
                metadata.entry(format!("{PREFIX}{name}")).or_insert_with(|| port.to_string());
            }
        }
    }
}

impl Named<'_> {
    fn number(&self) -> Option<u16> {
        self.port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0)
    }

    fn is_called(&self, name: &str) -> bool {
        self.name.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_the_default_or_the_only_one_or_chosen_by_name_or_number() {
        let two = r#"[{"Name":"http","Port":8080,"Default":true},{"Name":"grpc","Port":9090}]"#;
        let none_is = r#"[{"Name":"http","Port":8080},{"Name":"grpc","Port":9090,"Default":false}]"#;
        for (plain, named, choice, expected) in [
            (Some(80), None, None, Ok(80)),
            (Some(0), Some(two), None, Ok(8080)),
            (None, Some(two), Some("grpc"), Ok(9090)),
            (None, Some(two), Some("GRPC"), Ok(9090)),
            (None, Some(two), Some("9090"), Ok(9090)),
            (None, Some(two), Some("admin"), Err("http 8080, grpc 9090")),
            (None, Some(two), Some("80"), Err("http 8080, grpc 9090")),
            (None, Some(none_is), None, Err("http 8080, grpc 9090")),
            (Some(80), Some(none_is), None, Ok(80)),
            (Some(80), None, Some("80"), Ok(80)),
            (Some(80), None, Some("http"), Err("80")),
            (Some(0), Some(r#"[{"Name":"http","Port":8080}]"#), None, Ok(8080)),
            (Some(0), Some(r#"[{"Name":"http","Port":70000}]"#), None, Err("65535")),
            (Some(0), Some("7"), None, Err("65535")),
            (Some(80), Some(r#"{"http":1}"#), None, Ok(80)),
            (Some(80), Some("null"), None, Ok(80)),
            (None, None, Some("http"), Err("none")),
            (Some(-1), None, None, Err("-1")),
        ] {
            let named: Option<&RawValue> = named.map(|named| serde_json::from_str(named).expect("JSON"));
            let found = Ports::new(plain, named).choose(choice);
            match expected {
                Ok(port) => assert_eq!(found.expect("one"), port, "{plain:?} {named:?} {choice:?}"),
                Err(part) => {
                    let error = found.expect_err("none").to_string();
                    assert!(error.contains(part), "{part} in {error}");
                }
            }
        }
    }

    #[test]
    fn all_named_ports_are_in_the_metadata_and_replace_nothing() {
        let raw: &RawValue = serde_json::from_str(
            r#"[{"Name":"http","Port":80},{"Name":"","Port":81},{"Name":"x","Port":0}]"#,
        )
        .expect("JSON");
        let mut metadata = BTreeMap::from([("port.x".to_owned(), "kept".to_owned())]);
        Ports::new(None, Some(raw)).note(&mut metadata);
        let all: Vec<_> = metadata.iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(all, ["port.http=80", "port.x=kept"]);
    }
}
