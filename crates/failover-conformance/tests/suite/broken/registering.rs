//! A registry with a flaw.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use failover_core::provider::{EndpointEntry, Provider, Query, RegistrationStatus, Registry};
use failover_core::{Endpoint, EndpointId, Error, ErrorKind, Health, Lifecycle, ServiceName, async_trait};
use failover_memory::MemoryProvider;

use super::{Flaw, Flawed};

fn with_id(endpoint: &Endpoint, id: &str) -> Endpoint {
    let mut json = serde_json::to_value(endpoint).expect("serialises");
    json["id"] = id.into();
    serde_json::from_value(json).expect("valid")
}

impl Flawed {
    fn id(&self, id: &EndpointId) -> EndpointId {
        let text = id.as_str();
        let cut = text.find('/').filter(|_| self.has(Flaw::CutsIdsAtTheSlash)).unwrap_or(text.len());
        let folded = if self.has(Flaw::FoldsCase) { text.to_lowercase() } else { text[..cut].to_owned() };
        // An id that begins with a slash must stay one.
        EndpointId::new(if folded.is_empty() { text } else { &folded }).expect("valid")
    }

    /// Returns the endpoint as this registry stores it.
    fn stored(&self, endpoint: &Endpoint) -> Endpoint {
        let endpoint = with_id(endpoint, self.id(endpoint.id()).as_str());
        let builder = endpoint.to_builder();
        let changed = match (self.flaw, endpoint.created_at()) {
            (Some(Flaw::DropsMetadata), _) => builder.metadata_map::<&str, &str>([]),
            (Some(Flaw::RoundsTimes), Some(at)) => {
                let since = at.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
                builder.created_at(SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs()))
            }
            _ => return endpoint,
        };
        changed.build().expect("valid")
    }

    /// Registers unless a flaw of case 12 loses the registration.
    async fn write_one_of_many(&self, provider: &MemoryProvider, endpoint: &Endpoint) -> Result<(), Error> {
        let number = self.registrations.fetch_add(1, Ordering::SeqCst) + 1;
        let beside = self.writing.fetch_add(1, Ordering::SeqCst);
        tokio::task::yield_now().await;
        self.writing.fetch_sub(1, Ordering::SeqCst);
        let is_lost = match self.flaw {
            Some(Flaw::ForgetsTheLast) => number == 20,
            Some(Flaw::LosesConcurrentWrites) => beside > 0,
            _ => false,
        };
        if is_lost { Ok(()) } else { provider.register(endpoint).await }
    }

    /// Registers again and again, even if another process has the id meanwhile.
    fn renew(&self, endpoint: Endpoint) {
        let (inner, open) = (Arc::clone(&self.inner), Arc::clone(&self.open));
        tokio::spawn(async move {
            while open.load(Ordering::SeqCst) {
                let _ = inner.register(&endpoint).await;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
    }
}

#[async_trait]
impl Registry for Flawed {
    async fn register(&self, endpoint: &Endpoint) -> Result<(), Error> {
        let provider = self.up()?;
        let endpoint = &self.stored(endpoint);
        let (service, id) = (endpoint.service(), endpoint.id());
        self.own.lock().expect("whole").push((service.clone(), id.clone()));
        match self.flaw {
            Some(Flaw::KeepsTheFirstRegistration) if provider.get(service, id).await.is_ok() => Ok(()),
            Some(Flaw::KeepsBothRegistrations) => {
                let before = provider.get(service, id).await;
                let is_another =
                    before.is_ok_and(|before| before.endpoint().authority() != endpoint.authority());
                let second = with_id(endpoint, &format!("{id}-2"));
                provider.register(if is_another { &second } else { endpoint }).await
            }
            Some(Flaw::ForgetsTheLast | Flaw::LosesConcurrentWrites)
                if service.as_str().starts_with("conformance-12-") =>
            {
                self.write_one_of_many(provider, endpoint).await
            }
            Some(Flaw::WritesInTwoSteps) => {
                let half = endpoint.to_builder().weight(1).build().expect("valid");
                provider.register(&half).await?;
                tokio::task::yield_now().await;
                provider.register(endpoint).await
            }
            Some(Flaw::StaysLockedWhenDropped) => {
                if !self.locked.lock().expect("whole").insert((service.clone(), id.clone())) {
                    return Err(Error::new(ErrorKind::Conflict, "it is being written"));
                }
                tokio::task::yield_now().await;
                self.locked.lock().expect("whole").remove(&(service.clone(), id.clone()));
                provider.register(endpoint).await
            }
            Some(Flaw::RenewsOverASuccessor) if service.as_str().starts_with("conformance-63-") => {
                if provider.get(service, id).await.is_err() {
                    self.renew(endpoint.clone());
                }
                provider.register(endpoint).await
            }
            _ => provider.register(endpoint).await,
        }
    }

    async fn update(&self, endpoint: &Endpoint) -> Result<(), Error> {
        let provider = self.up()?;
        let before = provider.get(endpoint.service(), endpoint.id()).await;
        match (self.flaw, before) {
            (Some(Flaw::LosesAnUpdate), before) => before.map(drop),
            (Some(Flaw::UpdateKeepsTheWeight), Ok(before)) => {
                let weight = before.endpoint().weight();
                provider.update(&endpoint.to_builder().weight(weight).build().expect("valid")).await
            }
            (Some(Flaw::UpdateRegisters), _) => provider.register(endpoint).await,
            (Some(Flaw::UpdateOfNothingWorks), Err(_)) => Ok(()),
            _ => provider.update(endpoint).await,
        }
    }

    async fn deregister(&self, service: &ServiceName, id: &EndpointId) -> Result<bool, Error> {
        let provider = self.up()?;
        let id = &self.id(id);
        let before = provider.get(service, id).await;
        let was = provider.deregister(service, id).await?;
        match (self.flaw, before) {
            (Some(Flaw::MissingIsAnError), Err(_)) => Err(Error::new(ErrorKind::NotFound, "it is not there")),
            (Some(Flaw::MissingWasThere), Err(_)) => Ok(true),
            (Some(Flaw::DeregisterDenies), _) => Ok(false),
            (Some(Flaw::Resurrects), Ok(entry)) => {
                let inner = Arc::clone(&self.inner);
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    let _ = inner.register(entry.endpoint()).await;
                });
                Ok(was)
            }
            _ => Ok(was),
        }
    }

    async fn get(&self, service: &ServiceName, id: &EndpointId) -> Result<EndpointEntry, Error> {
        let provider = self.up()?;
        match (self.flaw, provider.get(service, &self.id(id)).await) {
            (Some(Flaw::GetsSomebodyElse), Err(missing)) => {
                let set = provider.list(&Query::service(service)).await?;
                set.into_entries().into_iter().next().ok_or(missing)
            }
            (Some(Flaw::MissingIsInvalid), Err(missing)) => {
                Err(Error::new(ErrorKind::Validation, "there is none").with_code(missing.code()))
            }
            (_, found) => found,
        }
    }

    async fn registration(&self, endpoint: &Endpoint) -> Result<RegistrationStatus, Error> {
        if self.has(Flaw::ClaimsASuccessor) {
            return Ok(RegistrationStatus::Registered);
        }
        RegistrationStatus::of_read(endpoint, self.get(endpoint.service(), endpoint.id()).await)
    }

    async fn set_health(&self, service: &ServiceName, id: &EndpointId, health: Health) -> Result<(), Error> {
        let provider = self.up()?;
        match self.flaw {
            Some(Flaw::ForgetsClaims) => provider.get(service, id).await.map(drop),
            Some(Flaw::ClaimsAboutNothingWork) if provider.get(service, id).await.is_err() => Ok(()),
            _ => provider.set_health(service, id, health).await,
        }
    }

    async fn set_lifecycle(
        &self,
        service: &ServiceName,
        id: &EndpointId,
        lifecycle: Lifecycle,
    ) -> Result<(), Error> {
        self.up()?.set_lifecycle(service, id, lifecycle).await
    }
}
