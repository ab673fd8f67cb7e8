//! Whether an answer without instances means that there are none.

use std::sync::Arc;

use failover_core::{Error, ErrorKind, ServiceName};

use crate::client::{Client, Limit};
use crate::wire::answer::Answer;
use crate::wire::{Mode, Read, names};
use crate::{convert, error};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Emptiness {
    /// The leader and the list of names agree that there are none.
    Certain,
    /// There seem to be none, but an old server would say the same to who may not see them.
    Likely,
    /// The leader knows some.
    NotEmpty,
}

/// Asks three more questions: the leader, the list of all names, and whether the token may read the
/// service. A token that may not read the nodes gets an empty answer with status 200, and so does every
/// token when a server has lost its data.
///
/// # Errors
///
/// `Permission` with the code `FILTERED` when instances are hidden; else when the servers do not answer.
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
    let set = convert::read_set(&client.settings, service, std::mem::take(&mut again.body)).await?;
    if again.filtered {
        return Err(filtered(service, "the server says that it left instances out"));
    }
    if !set.entries().is_empty() || set.rejected_count() > 0 {
        return Ok(Emptiness::NotEmpty);
    }
    let listed = client.done(client.settings.services(Read::now(Mode::Leader))?).await?;
    let names =
        names(&listed.body).map_err(|error| error::of_json("reading the names of all services", &error))?;
    // Consul itself ignores case here.
    if names.iter().any(|name| name == service.as_str()) {
        return Err(filtered(service, "the catalog names the service, and shows none of its instances"));
    }
    if let Some(allowed) = may_read(client, service).await {
        return if allowed {
            Ok(Emptiness::Certain)
        } else {
            Err(filtered(service, "the token may not read it"))
        };
    }
    // Nothing tells the rights of the token. A newer server would have reported that it filters.
    let can_tell = client.settings.token.is_some() && listed.backend.is_some();
    match (client.settings.token.is_some(), names.is_empty()) {
        (true, _) => Ok(if can_tell { Emptiness::Certain } else { Emptiness::Likely }),
        (false, false) => Ok(Emptiness::Certain),
        // Not even consul itself.
        (false, true) => Err(filtered(service, "without a token nothing at all is to be seen")),
    }
}

/// Whether the token may read the service, as far as the servers say so: their own user interface asks the same.
async fn may_read(client: &Client, service: &ServiceName) -> Option<bool> {
    let answer = client.ask(client.settings.may_read(service.as_str()).ok()?, Limit::Short).await.ok()?;
    match answer.status {
        200 => {
            let answers: Vec<Authorized> = serde_json::from_slice(&answer.body).ok()?;
            answers.first().map(|answer| answer.allow)
        }
        // Without ACLs everyone may.
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
    Error::new(ErrorKind::Permission, message).with_code("FILTERED")
}
