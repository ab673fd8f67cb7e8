//! Chooses the port of a slice's endpoints.
//!
//! Ports belong to a slice, and one name can mean another number in each. A service that gets a
//! second port keeps the one in use: otherwise its callers would be left with the endpoints of
//! before the change.

use failover_core::{Error, ErrorKind};
use serde_json::Value;

use crate::settings::{PortChoice, Reading, ServicePort, UsedPort};

/// The port and protocol of all endpoints of a slice.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) used: UsedPort,
    pub(super) protocol: String,
}

/// The code of the error that no port of a slice is the one to use.
pub(super) const PORT_NOT_FOUND: &str = "PORT_NOT_FOUND";
/// The longest list of ports in a message.
const SHOWN: usize = 16;

/// Chooses the port of a slice.
///
/// # Errors
///
/// Returns an error that lists the ports of the slice, if none is the one to use.
pub(super) fn choose(object: &Value, reading: &Reading) -> Result<Chosen, Error> {
    let kind = object.get("addressType").and_then(Value::as_str).unwrap_or_default();
    if !matches!(kind, "IPv4" | "IPv6" | "FQDN") {
        return Err(Error::invalid("addressType", kind, "IPv4, IPv6 or FQDN"));
    }
    let ports = object.get("ports").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if ports.is_empty() {
        // A headless Service may have no ports.
        let PortChoice::Number(number) = reading.port else {
            let message = "the slice names no port; state it with KubernetesProviderBuilder::port_number";
            return Err(Error::new(ErrorKind::Validation, message));
        };
        let used = UsedPort { name: String::new(), number };
        return Ok(Chosen { used, protocol: reading.protocol.clone() });
    }
    let found = by_choice(ports, reading)
        .or_else(|| reading.used.as_ref().and_then(|used| in_use(ports, used)))
        .ok_or_else(|| not_found(ports, &reading.port))?;
    let number = match (number(found), &reading.port) {
        (None, PortChoice::Number(wanted)) => i64::from(*wanted),
        (number, _) => number.unwrap_or(0),
    };
    let number = u16::try_from(number)
        .ok()
        .filter(|number| *number > 0)
        .ok_or_else(|| Error::invalid("port", number, "a number from 1 to 65535"))?;
    let used = UsedPort { name: name(found).to_owned(), number };
    Ok(Chosen { used, protocol: protocol(found, &reading.protocol) })
}

fn by_choice<'a>(ports: &'a [Value], reading: &Reading) -> Option<&'a Value> {
    let named = |wanted: &str| ports.iter().find(|port| name(port) == wanted);
    match &reading.port {
        PortChoice::Only => {
            if let [only] = ports {
                Some(only)
            } else {
                None
            }
        }
        PortChoice::Name(wanted) => named(wanted),
        PortChoice::Number(wanted) => {
            let exact = ports.iter().find(|port| number(port) == Some(i64::from(*wanted)));
            // A port without a number means all ports.
            let any = || ports.iter().find(|port| port.get("port").is_none_or(Value::is_null));
            let of_service = || {
                let port = reading.service_ports.iter().find(|port| port.number == *wanted)?;
                named(&port.name)
            };
            exact.or_else(any).or_else(of_service)
        }
    }
}

/// Returns the port in use until now: by name and number, by name, or by number, because the only
/// port of a Service needs no name until it gets a second one.
fn in_use<'a>(ports: &'a [Value], used: &UsedPort) -> Option<&'a Value> {
    let has_name = |port: &Value| name(port) == used.name;
    let has_number = |port: &Value| number(port) == Some(i64::from(used.number));
    let both = ports.iter().find(|port| has_name(port) && has_number(port));
    let same_name = || ports.iter().find(|port| !used.name.is_empty() && has_name(port));
    both.or_else(same_name).or_else(|| ports.iter().find(|port| has_number(port)))
}

fn not_found(ports: &[Value], choice: &PortChoice) -> Error {
    let mut all: Vec<String> = ports.iter().take(SHOWN).map(shown).collect();
    if ports.len() > SHOWN {
        all.push(format!("{} more", ports.len() - SHOWN));
    }
    let all = all.join(", ");
    let message = match choice {
        PortChoice::Only => format!(
            "the slice names several ports: {all}; choose one with KubernetesProviderBuilder::port_name or port_number"
        ),
        PortChoice::Name(name) => format!("the slice has no port named {name}; its ports are {all}"),
        PortChoice::Number(number) => format!("the slice has no port {number}; its ports are {all}"),
    };
    Error::new(ErrorKind::Validation, message).with_code(PORT_NOT_FOUND)
}

/// Shows a port as `http (8080)`.
fn shown(port: &Value) -> String {
    let name: String = name(port).chars().take(63).collect();
    match (number(port), name.is_empty()) {
        (Some(number), true) => number.to_string(),
        (Some(number), false) => format!("{name} ({number})"),
        (None, true) => "unnamed".to_owned(),
        (None, false) => name,
    }
}

fn name(port: &Value) -> &str {
    port.get("name").and_then(Value::as_str).unwrap_or_default()
}

fn number(port: &Value) -> Option<i64> {
    port.get("port").and_then(Value::as_i64)
}

/// Returns the ports of a Service object.
pub(crate) fn of_service(service: &Value) -> Vec<ServicePort> {
    let ports = service.pointer("/spec/ports").and_then(Value::as_array);
    let read = |port: &Value| {
        let number = number(port).and_then(|number| u16::try_from(number).ok())?;
        Some(ServicePort { name: name(port).to_owned(), number })
    };
    ports.into_iter().flatten().filter_map(read).collect()
}

/// Returns the protocol that the port states: `appProtocol`, or the transport.
pub(super) fn protocol(port: &Value, default: &str) -> String {
    let said = port.get("appProtocol").and_then(Value::as_str).unwrap_or_default().to_ascii_lowercase();
    let known = said.strip_prefix("kubernetes.io/").or_else(|| said.strip_prefix("failover.rs/"));
    let word = known.unwrap_or(&said);
    let is_scheme = !word.is_empty()
        && word.len() <= 32
        && word.starts_with(|c: char| c.is_ascii_alphabetic())
        && word.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    if is_scheme {
        return word.to_owned();
    }
    match port.get("protocol").and_then(Value::as_str) {
        Some("UDP") => "udp".to_owned(),
        Some("SCTP") => "sctp".to_owned(),
        _ => default.to_owned(),
    }
}
