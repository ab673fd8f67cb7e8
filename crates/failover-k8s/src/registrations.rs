//! What this process has registered, each endpoint in a place of its own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use failover_core::{EndpointEntry, EndpointId, ServiceName};

/// An endpoint that this process has registered, or none any more. It is locked while it is written, so that a
/// deregistration and the return of a lost lease do not pass each other.
type Slot = Arc<tokio::sync::Mutex<Option<EndpointEntry>>>;
pub(crate) type Key = (ServiceName, EndpointId);

/// A slot that is used. The last user of one that is empty takes it away, however it ends.
pub(crate) struct Registration<'a> {
    places: &'a Registrations,
    pub(crate) key: Key,
    slot: Slot,
}

impl std::ops::Deref for Registration<'_> {
    type Target = tokio::sync::Mutex<Option<EndpointEntry>>;

    fn deref(&self) -> &Self::Target {
        &self.slot
    }
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        let mut own = self.places.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Let go of while the map is locked, so that of two at once one is the last.
        let slot = std::mem::take(&mut self.slot);
        if Arc::strong_count(&slot) == 2 && slot.try_lock().is_ok_and(|slot| slot.is_none()) {
            own.remove(&self.key);
        }
    }
}

/// The places of one process.
#[derive(Default)]
pub(crate) struct Registrations(Mutex<HashMap<Key, Slot>>);

impl Registrations {
    /// How many endpoints this process has registered and not deregistered.
    pub(crate) fn count(&self) -> usize {
        let own = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        own.values().filter(|slot| slot.try_lock().map_or(true, |slot| slot.is_some())).count()
    }

    /// The place of an endpoint, which is empty where there is none.
    pub(crate) fn of(&self, service: &ServiceName, id: &EndpointId) -> Registration<'_> {
        let key = (service.clone(), id.clone());
        let mut own = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = Arc::clone(own.entry(key.clone()).or_default());
        Registration { places: self, key, slot }
    }

    /// The place of an endpoint that this process has registered.
    pub(crate) fn known(&self, service: &ServiceName, id: &EndpointId) -> Option<Registration<'_>> {
        let key = (service.clone(), id.clone());
        let own = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = own.get(&key).cloned()?;
        Some(Registration { places: self, key, slot })
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<Registration<'_>> {
        let own = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = |(key, slot): (&Key, &Slot)| Registration {
            places: self,
            key: key.clone(),
            slot: Arc::clone(slot),
        };
        own.iter().map(place).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_empty_place_goes_with_its_last_user_and_another_stays() {
        let all = Registrations::default();
        let places = || all.0.lock().expect("whole").len();
        let (users, a) = (ServiceName::new("users").expect("valid"), EndpointId::new("a").expect("valid"));
        let endpoint = failover_core::Endpoint::builder("a", "users", "10.0.0.1", 80).build().expect("valid");
        {
            let (one, two) = (all.of(&users, &a), all.of(&users, &a));
            drop(one);
            assert_eq!(places(), 1, "somebody uses it");
            let mut slot = two.lock().await;
            *slot = Some(endpoint.into());
        }
        assert_eq!((places(), all.count()), (1, 1));
        {
            let known = all.known(&users, &a).expect("it is registered");
            *known.lock().await = None;
        }
        assert_eq!(places(), 0);
        assert!(all.known(&users, &a).is_none());
    }
}
