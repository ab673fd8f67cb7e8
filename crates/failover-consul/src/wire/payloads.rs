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
    /// The random id of the agent's data; other software may register a node without one.
    #[serde(rename = "ID", borrow)]
    pub(crate) id: Option<Cow<'a, str>>,
    #[serde(rename = "Node", borrow)]
    pub(crate) name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(crate) address: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(crate) datacenter: Option<Cow<'a, str>>,
    pub(crate) meta: Option<BTreeMap<String, Option<String>>>,
    /// Since 1.16; see [`Locality`].
    #[serde(borrow)]
    pub(crate) locality: Option<&'a RawValue>,
}

/// Where a node or an instance is.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Locality<'a> {
    #[serde(borrow)]
    pub(crate) region: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(crate) zone: Option<Cow<'a, str>>,
}

impl<'a> Locality<'a> {
    /// Reads it. One that cannot be read counts as none, and excludes no instance.
    pub(crate) fn read(raw: Option<&'a RawValue>) -> Self {
        let read = raw.and_then(|raw| serde_json::from_str::<Option<Self>>(raw.get()).ok());
        read.flatten().unwrap_or_default()
    }
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
    /// Ports with names, of newer servers, instead of the one without.
    #[serde(rename = "Ports", borrow)]
    pub(crate) ports: Option<&'a RawValue>,
    /// Since 1.16; see [`Locality`].
    #[serde(rename = "Locality", borrow)]
    pub(crate) locality: Option<&'a RawValue>,
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

/// Returns the id of a node in the catalog, empty if it has none; `None` if there is no such node.
pub(crate) fn node_id(body: &[u8]) -> Result<Option<String>, serde_json::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Found<'a> {
        #[serde(borrow)]
        node: Option<Node<'a>>,
    }
    let read: Option<Found<'_>> = serde_json::from_slice(body)?;
    Ok(read.and_then(|found| found.node).map(|node| node.id.unwrap_or_default().into_owned()))
}

/// Returns the hash that the agent gives the content of a registration.
pub(crate) fn content_hash(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Hashed {
        content_hash: Option<String>,
    }
    let read = serde_json::from_slice::<Hashed>(body).ok()?;
    read.content_hash.filter(|hash| !hash.is_empty() && hash.len() <= 128)
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
