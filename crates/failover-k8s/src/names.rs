//! Names in the cluster: labels, annotations and object names.

use std::fmt::Write as _;

use failover_core::provider::ConfigKey;
use failover_core::{EndpointId, Error, ErrorKind, ServiceName};
use ring::digest::{SHA256, digest};

/// The label that associates slices with a service.
pub(crate) const SERVICE: &str = "kubernetes.io/service-name";
/// The label that associates slices with a `ServiceImport` of the Multi-Cluster Services API.
pub(crate) const IMPORT: &str = "multicluster.kubernetes.io/service-name";
/// The label of a pod with the weight of its endpoint.
pub(crate) const WEIGHT: &str = "failover.rs/weight";
/// The label on a node with its zone.
pub(crate) const ZONE: &str = "topology.kubernetes.io/zone";
/// The label that names the writer of a slice.
pub(crate) const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// The value of [`MANAGED_BY`] on what this crate writes, and its field manager.
pub(crate) const MANAGER: &str = "failover.rs";
/// The label that makes kube-proxy ignore a slice and its changes.
pub(crate) const HEADLESS: &str = "service.kubernetes.io/headless";
/// The label on slices and leases that names the process that registered them.
pub(crate) const REGISTRANT: &str = "failover.rs/registrant";
/// The label on leases of processes that remove the registrations of others that are gone.
pub(crate) const REAPER: &str = "failover.rs/reaper";
/// The annotation on a lease with the slices of its process that another one has deregistered.
pub(crate) const DEREGISTERED: &str = "failover.rs/deregistered";
/// The annotation with the whole endpoint as JSON.
pub(crate) const ENDPOINT: &str = "failover.rs/endpoint";
/// The label of a `ConfigMap` with a configuration document.
pub(crate) const CONFIG: &str = "failover.rs/config";
/// The annotation with the key of the configuration document in a `ConfigMap`.
pub(crate) const CONFIG_KEY: &str = "failover.rs/key";
/// The data key of the document in a `ConfigMap`.
pub(crate) const CONFIG_VALUE: &str = "value";

/// The maximum length of a label value.
const LABEL: usize = 63;

/// Returns the name of an endpoint's slice. It is the same in every process, so that two processes
/// that register one endpoint write the same object.
pub(crate) fn slice(namespace: &str, service: &ServiceName, id: &EndpointId) -> String {
    // No part can contain the separator.
    let hash = hash(&[namespace, service.as_str(), id.as_str()]);
    format!("fo-{}-{hash}", slug(service.as_str()))
}

/// Returns the name of a document's `ConfigMap`.
pub(crate) fn config(key: &ConfigKey) -> String {
    let text = config_key(key);
    format!("fo-cfg-{}-{}", slug(&text), hash(&["config", &text]))
}

/// Returns the value of the annotation [`CONFIG_KEY`].
pub(crate) fn config_key(key: &ConfigKey) -> String {
    match key {
        ConfigKey::Service(service) => format!("service/{service}"),
        _ => "default".to_owned(),
    }
}

/// Reads the value of the annotation [`CONFIG_KEY`].
pub(crate) fn read_config_key(text: &str) -> Option<ConfigKey> {
    match text.strip_prefix("service/") {
        Some(service) => ServiceName::new(service).ok().map(ConfigKey::Service),
        None => (text == "default").then_some(ConfigKey::Default),
    }
}

/// Returns whether a text is a valid name of a namespace.
pub(crate) fn is_namespace(name: &str) -> bool {
    is_label(name) && name.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase() || b == b'-')
}

/// Returns whether a text is a valid label value.
pub(crate) fn is_label(text: &str) -> bool {
    let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    text.len() <= LABEL
        && edge(text.bytes().next())
        && edge(text.bytes().last())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

/// Returns an error if a service's name is not a valid label value.
pub(crate) fn check_service(service: &ServiceName) -> Result<(), Error> {
    if is_label(service.as_str()) {
        return Ok(());
    }
    let wanted =
        "at most 63 letters, digits, dots, underscores and hyphens, with a letter or digit at both ends";
    let message = format!("service name {service} does not fit into a Kubernetes label; give {wanted}");
    Err(Error::new(ErrorKind::Unsupported, message).with_detail("field", "service"))
}

/// Returns the readable part of an object's name: lower case, at most 30 characters, starting and
/// ending with a letter or digit.
fn slug(text: &str) -> String {
    let kept: String = text
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
        .take(30)
        .collect();
    let trimmed = kept.trim_matches('-');
    if trimmed.is_empty() { "x".to_owned() } else { trimmed.to_owned() }
}

/// Returns the first 16 hexadecimal digits of the SHA-256 of the separated parts.
fn hash(parts: &[&str]) -> String {
    let joined = parts.join("\u{0}");
    let mut out = String::with_capacity(16);
    for byte in &digest(&SHA256, joined.as_bytes()).as_ref()[..8] {
        let _ = write!(out, "{byte:02x}");
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn service(name: &str) -> ServiceName {
        ServiceName::new(name).expect("valid")
    }

    fn id(text: &str) -> EndpointId {
        EndpointId::new(text).expect("valid")
    }

    fn is_object_name(name: &str) -> bool {
        let edge =
            |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase());
        name.len() <= 63
            && edge(name.bytes().next())
            && edge(name.bytes().last())
            && name.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase() || b == b'-')
    }

    #[test]
    fn a_slice_has_the_same_name_in_every_process_and_another_for_each_endpoint() {
        let name = slice("shop", &service("user-service"), &id("users-1"));
        assert_eq!(name, slice("shop", &service("user-service"), &id("users-1")));
        assert_eq!(name, "fo-user-service-b1102513a482b32e");
        for other in [
            slice("shop", &service("user-service"), &id("users-2")),
            slice("shop", &service("User-service"), &id("users-1")),
            slice("other", &service("user-service"), &id("users-1")),
            slice("shop", &service("user-service"), &id("Users-1")),
        ] {
            assert_ne!(name, other);
        }
    }

    #[test]
    fn a_label_is_what_kubernetes_takes() {
        for good in ["a", "users", "User_Service.v1-x", &"x".repeat(63)] {
            assert!(is_label(good), "{good}");
        }
        for bad in ["", "-a", "a-", ".a", "a_", "a/b", "ü", &"x".repeat(64)] {
            assert!(!is_label(bad), "{bad}");
        }
        let error = check_service(&service(&"x".repeat(64))).expect_err("too long");
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        check_service(&service("users")).expect("fits");
    }

    proptest! {
        #[test]
        fn every_name_is_one_that_kubernetes_takes(name in "[A-Za-z0-9._-]{1,253}", text in "[^\\s\\p{C}]{1,255}") {
            if let (Ok(service), Ok(id)) = (ServiceName::new(&name), EndpointId::new(&text)) {
                prop_assert!(is_object_name(&slice("shop", &service, &id)));
                prop_assert!(is_object_name(&config(&ConfigKey::Service(service))));
            }
        }
    }
}
