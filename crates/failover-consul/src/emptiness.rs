//! Whether an answer without instances means that there are none.

use std::collections::HashMap;

use failover_core::{Error, ErrorKind, ServiceName};
use serde::de::IgnoredAny;

use crate::client::{Answer, Client};
use crate::convert;
use crate::error;
use crate::wire::{Mode, Read};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Emptiness {
    /// The leader and the list of names agree that there are none.
    Certain,
    /// There seem to be none, but an old server would say the same to who may not see them.
    Likely,
    /// The leader knows some.
    NotEmpty,
}

/// Asks twice more: the leader, and the list of all names. Whoever may not read the nodes gets an empty answer with a good
/// status, and so does everyone when a server has lost its data.
///
/// # Errors
///
/// `Permission` with the code `FILTERED` when instances are hidden; else when the servers do not answer.
pub(crate) async fn examine(
    client: &Client,
    service: &ServiceName,
    answer: &Answer,
) -> Result<Emptiness, Error> {
    if answer.filtered {
        return Err(filtered(service, "the server says that it left instances out"));
    }
    let again = client.done(client.settings.health(service.as_str(), None, Read::now(Mode::Leader))?).await?;
    let what = format!("reading service {service}");
    let set = convert::set(service, &again.body, &client.settings)
        .map_err(|error| error::of_content(&what, error))?;
    if again.filtered {
        return Err(filtered(service, "the server says that it left instances out"));
    }
    if !set.entries().is_empty() || set.rejected_count() > 0 {
        return Ok(Emptiness::NotEmpty);
    }
    let listed = client.done(client.settings.services(Read::now(Mode::Leader))?).await?;
    let names: HashMap<String, IgnoredAny> = serde_json::from_slice(&listed.body)
        .map_err(|error| error::of_content("reading the names of all services", error))?;
    // Consul itself does not tell capitals from small letters here.
    if names.keys().any(|name| name == service.as_str()) {
        return Err(filtered(service, "the catalog names the service, and shows none of its instances"));
    }
    if !names.is_empty() {
        // Names that are seen are no proof that this one would be, but a newer server says when it hides something.
        return Ok(if can_tell(client, &listed) || !client.settings.token.is_some() {
            Emptiness::Certain
        } else {
            Emptiness::Likely
        });
    }
    // Not even consul itself.
    if client.settings.token.is_some() {
        return Ok(if can_tell(client, &listed) { Emptiness::Certain } else { Emptiness::Likely });
    }
    Err(filtered(service, "without a token nothing at all is to be seen"))
}

/// Whether the server would have said that it hides something: since 1.12, to who has a token.
fn can_tell(client: &Client, answer: &Answer) -> bool {
    answer.backend.is_some() && client.settings.token.is_some()
}

fn filtered(service: &ServiceName, why: &str) -> Error {
    let message = format!(
        "service {service} is empty, or hidden: {why}; the token needs service:read for it and node:read for its nodes"
    );
    Error::new(ErrorKind::Permission, message).with_code("FILTERED")
}
