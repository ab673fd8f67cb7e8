//! Response bodies. Every field that some version omits or sets to null is optional.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::Weights;
use crate::error;

/// Returns the names in a list of services.
pub(crate) fn names(body: &[u8]) -> Result<Vec<String>, serde_json::Error> {
    serde_json::from_slice::<HashMap<String, &RawValue>>(body).map(|names| names.into_keys().collect())
}

/// More entries than any service has; bounds the memory that a response of tiny entries can take.
const MAX_ENTRIES: usize = 200_000;

/// Returns the unparsed entries of a list, so that an unreadable entry does not affect the others.
///
/// # Errors
///
/// Returns a message if the body is not a list or has more than 200 000 entries.
pub(crate) fn entries(body: &[u8]) -> Result<Vec<&RawValue>, String> {
    let entries = serde_json::from_slice::<Entries<'_>>(body).map_err(|error| error::json(&error))?.0;
    if entries.len() > MAX_ENTRIES {
        return Err(format!("it has more than {MAX_ENTRIES} entries"));
    }
    Ok(entries)
}

struct Entries<'a>(Vec<&'a RawValue>);

impl<'de> Deserialize<'de> for Entries<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EntriesVisitor)
    }
}

struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Entries<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of instances")
    }

    /// Null means no instances.
    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Entries(Vec::new()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = list.next_element()? {
            // One entry beyond the maximum shows that there are more.
            if entries.len() <= MAX_ENTRIES {
                entries.push(entry);
            }
        }
        Ok(Entries(entries))
    }
}

/// An instance in a server's list.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Instance<'a> {
    #[serde(borrow)]
    pub(crate) node: Option<Node<'a>>,
    #[serde(borrow)]
    pub(crate) service: Option<Service<'a>>,
    #[serde(borrow)]
    pub(crate) checks: Option<Vec<CheckState<'a>>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Node<'a> {
    #[serde(rename = "Node", borrow)]
    pub(crate) name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(crate) address: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(crate) datacenter: Option<Cow<'a, str>>,
    pub(crate) meta: Option<BTreeMap<String, Option<String>>>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Service<'a> {
    #[serde(rename = "ID", borrow)]
    pub(crate) id: Option<Cow<'a, str>>,
    #[serde(rename = "Service", borrow)]
    pub(crate) name: Option<Cow<'a, str>>,
    /// Empty for the service itself; names the kind of proxy or gateway otherwise.
    #[serde(rename = "Kind", borrow)]
    pub(crate) kind: Option<Cow<'a, str>>,
    #[serde(rename = "Address", borrow)]
    pub(crate) address: Option<Cow<'a, str>>,
    #[serde(rename = "Port")]
    pub(crate) port: Option<i64>,
    #[serde(rename = "Tags")]
    pub(crate) tags: Option<Vec<String>>,
    #[serde(rename = "Meta")]
    pub(crate) meta: Option<BTreeMap<String, Option<String>>>,
    #[serde(rename = "Weights")]
    pub(crate) weights: Option<Weights>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct CheckState<'a> {
    #[serde(rename = "CheckID", borrow)]
    pub(crate) id: Option<Cow<'a, str>>,
    #[serde(rename = "Status", borrow)]
    pub(crate) status: Option<Cow<'a, str>>,
    #[serde(rename = "Notes", borrow)]
    pub(crate) notes: Option<Cow<'a, str>>,
    #[serde(rename = "ServiceID", borrow)]
    pub(crate) service_id: Option<Cow<'a, str>>,
    #[serde(rename = "Type", borrow)]
    pub(crate) kind: Option<Cow<'a, str>>,
}

/// A key's value.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct KeyValue {
    pub(crate) key: Option<String>,
    /// Base64; null if empty.
    pub(crate) value: Option<String>,
    pub(crate) modify_index: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct AgentSelf {
    pub(crate) config: Option<AgentConfig>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct AgentConfig {
    pub(crate) datacenter: Option<String>,
    pub(crate) node_name: Option<String>,
}
