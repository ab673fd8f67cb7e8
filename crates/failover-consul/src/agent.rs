//! Reads of the agent's own state, and writes to it.

use failover_core::provider::EndpointEntry;
use failover_core::{Error, ErrorKind, Health, Lifecycle, ServiceName, codes};
use tokio::time::timeout;

use crate::client::{Client, Limit};
use crate::convert::{self, Claims, DRAINING, MAINTENANCE, Notes};
use crate::error;
use crate::wire::{CheckState, Instance, Registration, Service};

/// An instance that is registered with this agent.
#[derive(Debug)]
pub(crate) struct Local {
    /// The service it belongs to.
    pub(crate) service: String,
    /// The provider that registered it, if it was registered by this library.
    pub(crate) owner: Option<String>,
    pub(crate) claims: Claims,
    /// The status of its own check, without the checks of its node.
    pub(crate) own_health: Health,
    /// Whether its own check has a time to live.
    pub(crate) has_ttl: bool,
    body: Vec<u8>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answered<'a> {
    #[serde(borrow)]
    service: Option<Service<'a>>,
    #[serde(borrow)]
    checks: Option<Vec<CheckState<'a>>>,
}

/// Returns the instance with this id in Consul, if the agent has it.
pub(crate) async fn local(client: &Client, id: &str) -> Result<Option<Local>, Error> {
    let call = client.settings.local(id)?;
    let what = call.what.clone();
    // The agent answers from memory. No heartbeat is sent while an operation on the endpoint waits
    // for this answer, so it must arrive well within the time to live.
    let limit = client.settings.deadline.min(client.settings.ttl / 2);
    let asking = timeout(limit, client.ask(call, Limit::Short));
    let answer = asking.await.unwrap_or_else(|_| Err(client.timed_out(&what, limit)))?;
    // The status reflects the instance's checks: 429 for warning and 503 for critical, both with
    // the instance in the body. An overloaded agent returns the same codes without it.
    match answer.status {
        404 => return Ok(None),
        200 | 429 | 503 => {}
        _ => return Err(error::of_status(&what, &answer)),
    }
    let read: Answered<'_> = match serde_json::from_slice(&answer.body) {
        Ok(read) => read,
        Err(error) if answer.status == 200 => return Err(error::of_json(&what, &error)),
        Err(_) => return Err(error::of_status(&what, &answer)),
    };
    let Some(service) = read.service else { return Err(Error::bad_answer(&what, "it names no service")) };
    let own = convert::has_check(id);
    let own = read.checks.iter().flatten().find(|check| check.id.as_deref() == Some(own.as_str()));
    let own_health =
        own.map_or(Health::Healthy, |own| convert::claims(Some(std::slice::from_ref(own)), false).health);
    let has_ttl = own.is_some_and(|own| own.kind.as_deref() == Some("ttl"));
    Ok(Some(Local {
        service: service.name.as_deref().unwrap_or_default().to_owned(),
        owner: convert::owner(&service).map(str::to_owned),
        claims: convert::claims(read.checks.as_deref(), client.settings.ignore_node_checks),
        own_health,
        has_ttl,
        body: answer.body,
    }))
}

impl Local {
    pub(crate) fn entry(&self, client: &Client, service: &ServiceName) -> Result<EndpointEntry, Error> {
        let read: Answered<'_> = serde_json::from_slice(&self.body)
            .map_err(|error| error::of_json("reading the agent", &error))?;
        let instance = Instance { node: None, service: read.service, checks: read.checks };
        convert::entry(service, None, &instance, &client.settings, &mut Notes::default())
    }

    /// Returns the address and port, as far as the instance has them.
    pub(crate) fn place(&self) -> String {
        let read = serde_json::from_slice::<Answered<'_>>(&self.body).ok();
        let service = read.and_then(|read| read.service);
        let address = service.as_ref().and_then(|service| service.address.as_deref()).unwrap_or_default();
        let port = service.as_ref().and_then(|service| service.port).unwrap_or_default();
        match address {
            "" => format!("another process on this node, port {port}"),
            ip if ip.contains(':') => format!("[{ip}]:{port}"),
            _ => format!("{address}:{port}"),
        }
    }

    /// Returns whether the agent's instance matches the registration. Used if a response was lost.
    fn is(&self, registration: &Registration) -> bool {
        let Ok(read) = serde_json::from_slice::<Answered<'_>>(&self.body) else { return false };
        let Some(service) = read.service else { return false };
        let meta = service.meta.unwrap_or_default();
        self.service == registration.name
            && service.address.as_deref() == Some(registration.address.as_str())
            && service.port == Some(i64::from(registration.port))
            && service.tags.unwrap_or_default() == registration.tags
            && service.weights.is_some_and(|weights| weights.passing == registration.weights.passing)
            && meta.len() == registration.meta.len()
            && meta.iter().all(|(key, value)| registration.meta.get(key) == value.as_ref())
    }
}

/// Registers the instance. If the response is lost, reads back whether it arrived. If an older
/// agent refuses an unknown field of the check, retries without that field.
pub(crate) async fn write(
    client: &Client,
    registration: &mut Registration,
    replace_checks: bool,
) -> Result<(), Error> {
    loop {
        match client.done(client.settings.register(registration, replace_checks)?).await {
            Ok(_) => return Ok(()),
            Err(error) if error.is_outcome_unknown() => {
                // Registering is idempotent, and the agent answers reads of its own state even if
                // the servers do not answer.
                return match local(client, &registration.id).await {
                    Ok(Some(local)) if local.is(registration) => Ok(()),
                    Ok(None) if error.code() == codes::CONNECTION_LOST => Err(error::turned_away(&error)),
                    _ => Err(error),
                };
            }
            Err(error)
                if error.code() == codes::REFUSED && registration.check.tls_server_name.take().is_some() =>
            {
                tracing::warn!(target: "failover::consul",
                    id = registration.id,
                    "this agent cannot check a TLS server by another name than its address (TLSServerName)"
                );
            }
            Err(error) => return Err(error),
        }
    }
}

/// Deregisters the instance and verifies that it is gone.
pub(crate) async fn remove(client: &Client, id: &str) -> Result<(), Error> {
    match client.done(client.settings.deregister(id)?).await {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        // The request may have arrived.
        Err(error) if error.is_outcome_unknown() => {
            return match local(client, id).await {
                Ok(None) => Ok(()),
                _ => Err(error),
            };
        }
        Err(error) => return Err(error),
    }
    if local(client, id).await?.is_some() {
        let message =
            format!("deregistering {id}: the agent still has it, or another process registers it again");
        return Err(Error::new(ErrorKind::Conflict, message));
    }
    Ok(())
}

/// Starts or ends maintenance.
pub(crate) async fn set_lifecycle(client: &Client, id: &str, lifecycle: Lifecycle) -> Result<(), Error> {
    let reason = match lifecycle {
        Lifecycle::InService => None,
        Lifecycle::Draining => Some(DRAINING),
        _ => Some(MAINTENANCE),
    };
    match client.done(client.settings.maintenance(id, reason)?).await {
        Ok(_) => Ok(()),
        // There was no maintenance to end.
        Err(error) if error.kind() == ErrorKind::NotFound && reason.is_none() => Ok(()),
        Err(error) => Err(error),
    }
}
