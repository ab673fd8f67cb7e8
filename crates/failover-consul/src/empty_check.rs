//! Verifies that an answer without instances means that there are none.

use std::collections::BTreeMap;
use std::sync::Arc;

use failover_core::{Error, ErrorKind, ServiceName};

use crate::client::{Client, Limit};
use crate::convert;
use crate::error;
use crate::settings::Order;
use crate::wire::answer::Answer;
use crate::wire::{Mode, Read, names, node_id};

/// The error code for data that the token may not read.
pub(crate) const FILTERED: &str = "FILTERED";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Emptiness {
    /// The leader and the list of names agree that there are none.
    Certain,
    /// There seem to be none, but an old server would answer the same if the token lacks
    /// permission.
    Likely,
    /// The leader knows instances.
    NotEmpty,
}

/// Sends three more requests: the leader's list of instances, the list of all names, and whether
/// the token may read the service. If the token may not read the nodes, the answer is empty with
/// status 200; so is every answer of a server that has lost its data.
///
/// # Errors
///
/// Returns `Permission` with the code `FILTERED` if instances are hidden, or the error of a request
/// that failed.
pub(crate) async fn verify(
    client: &Arc<Client>,
    service: &ServiceName,
    answer: &Answer,
) -> Result<Emptiness, Error> {
    if answer.filtered {
        return Err(filtered(service, "the server says that it left instances out"));
    }
    let asking = client.done(client.settings.health(service.as_str(), None, Read::now(Mode::Leader))?);
    let mut again = asking.await?;
    let body = std::mem::take(&mut again.body);
    let set = convert::read_set(&client.settings, service, None, body, Order::ById).await?;
    if again.filtered {
        return Err(filtered(service, "the server says that it left instances out"));
    }
    if !set.entries().is_empty() || set.rejected_count() > 0 {
        return Ok(Emptiness::NotEmpty);
    }
    let listed = client.done(client.settings.services(Read::now(Mode::Leader))?).await?;
    let names =
        names(&listed.body).map_err(|error| error::of_json("reading the names of all services", &error))?;
    if names.iter().any(|name| convert::is_service(service, name)) {
        return Err(filtered(service, "the catalog names the service, and shows none of its instances"));
    }
    if let Some(allowed) = may_read(client, service.as_str()).await {
        return if allowed {
            Ok(Emptiness::Certain)
        } else {
            Err(filtered(service, "the token may not read it"))
        };
    }
    // The token's rights are unknown. A newer server would have reported that it filters.
    let can_tell = client.settings.token.is_some() && listed.backend.is_some();
    match (client.settings.token.is_some(), names.is_empty()) {
        (true, _) => Ok(if can_tell { Emptiness::Certain } else { Emptiness::Likely }),
        (false, false) => Ok(Emptiness::Certain),
        // Even the service `consul` is missing.
        (false, true) => Err(filtered(service, "without a token, nothing is visible")),
    }
}

/// Returns whether one of the nodes that had the instances is gone, or has another id: its agent has left
/// or lost its data, and owners register what they still have soon.
pub(crate) async fn has_lost_node(client: &Client, nodes: &BTreeMap<String, String>) -> bool {
    for (name, id) in nodes {
        // A name that cannot be part of a path is not asked for.
        let Ok(call) = client.settings.node(name) else { continue };
        let Ok(answer) = client.done(call).await else { continue };
        if node_id(&answer.body).is_ok_and(|found| found.as_ref() != Some(id)) {
            return true;
        }
    }
    false
}

/// Verifies that a list of all services without any endpoint is complete. `named` is the number of
/// names in it.
///
/// # Errors
///
/// Returns `Permission` with the code `FILTERED` if something is hidden.
pub(crate) async fn verify_all(client: &Client, named: usize, is_filtered: bool) -> Result<(), Error> {
    let why = if is_filtered {
        "the server says that it left out what the token may not read"
    } else if named > 0 {
        "the catalog names services, and shows no instance of any"
    } else if may_read(client, "consul").await == Some(true) {
        return Ok(());
    } else {
        // Every cluster has it, and registers it itself.
        "not even the service consul is visible"
    };
    let message = format!(
        "listing all services: there is none, or all are hidden: {why}; the token needs service:read for the services and node:read for their nodes"
    );
    Err(Error::new(ErrorKind::Permission, message).with_code(FILTERED))
}

/// Returns the reason why an answer that holds some instances may lack others.
pub(crate) fn partly_hidden() -> Error {
    let message = "the server left out what the token may not read (service:read, node:read)";
    Error::new(ErrorKind::Permission, message).with_code(FILTERED)
}

/// Returns whether the token may read the service, if the servers say so. Consul's user interface
/// uses the same request.
async fn may_read(client: &Client, service: &str) -> Option<bool> {
    let answer = client.ask(client.settings.may_read(service).ok()?, Limit::Short).await.ok()?;
    match answer.status {
        200 => {
            let answers: Vec<Authorized> = serde_json::from_slice(&answer.body).ok()?;
            answers.first().map(|answer| answer.allow)
        }
        // Without ACLs every token may read.
        401 if answer.body.trim_ascii() == b"ACL support disabled" => Some(true),
        _ => None,
    }
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Authorized {
    allow: bool,
}

fn filtered(service: &ServiceName, why: &str) -> Error {
    let message = format!(
        "service {service} is empty, or hidden: {why}; the token needs service:read for it and node:read for its nodes"
    );
    Error::new(ErrorKind::Permission, message).with_code(FILTERED)
}
