//! The compact form of a Service: `users.shop:http`.

use std::str::FromStr;

use failover_core::{Error, ServiceName};

use crate::names;
use crate::settings::{PortChoice, Target};

const WANTED: &str = "SERVICE, SERVICE.NAMESPACE or SERVICE.NAMESPACE:PORT, such as users.shop:http";

impl FromStr for Target {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let invalid = || Error::invalid("service", text.chars().take(200).collect::<String>(), WANTED);
        let (place, port) = match text.split_once(':') {
            Some((place, port)) => (place, Some(port_of(port).ok_or_else(invalid)?)),
            None => (text, None),
        };
        let (service, namespace) = match place.split_once('.') {
            Some((service, namespace)) => (service, Some(namespace)),
            None => (place, None),
        };
        if !names::is_label(service) || namespace.is_some_and(|name| !names::is_namespace(name)) {
            return Err(invalid());
        }
        let service = ServiceName::new(service).map_err(|_| invalid())?;
        Ok(Self { namespace: namespace.map(str::to_owned), port, ..Self::plain(&service) })
    }
}

fn port_of(text: &str) -> Option<PortChoice> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok().filter(|number| *number > 0).map(PortChoice::Number);
    }
    names::is_label(text).then(|| PortChoice::Name(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compact_form_names_service_namespace_and_port() {
        let parse = |text: &str| text.parse::<Target>();
        let target = |service: &str, namespace: Option<&str>, port: Option<PortChoice>| Target {
            namespace: namespace.map(str::to_owned),
            port,
            ..Target::plain(&ServiceName::new(service).expect("valid"))
        };
        let http = || Some(PortChoice::Name("http".to_owned()));
        assert_eq!(parse("users").expect("valid"), target("users", None, None));
        assert_eq!(parse("users:http").expect("valid"), target("users", None, http()));
        assert_eq!(parse("users.shop:http").expect("valid"), target("users", Some("shop"), http()));
        assert_eq!(
            parse("users.shop:8080").expect("valid"),
            target("users", Some("shop"), Some(PortChoice::Number(8080)))
        );
    }

    #[test]
    fn what_is_no_target_is_refused_with_the_form_it_has() {
        for text in [
            "",
            ":",
            ":http",
            ".shop",
            "users.",
            "users:",
            "users.shop:",
            "users:0",
            "users:65536",
            "users:a b",
            "users.shop.svc:http",
            "users.SHOP",
            "users.shop:http:x",
            "-users",
            "users.shop/x",
            "üsers",
        ] {
            let error = text.parse::<Target>().expect_err(text).to_string();
            assert!(error.contains("users.shop:http"), "{error}");
        }
    }
}
