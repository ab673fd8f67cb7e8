//! One asynchronous lock per key, removed after its last use.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

type Lock<T> = Arc<tokio::sync::Mutex<T>>;
type Locks<K, T> = Arc<Mutex<HashMap<K, Lock<T>>>>;

/// A value under a lock for each key, such as what a provider has registered under each id.
///
/// Operations on one key are serialised; those on different keys run concurrently. A key is removed
/// with its last [`Slot`] unless its value has to be kept.
///
/// ```
/// use failover_provider_kit::KeyedLocks;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let registered = KeyedLocks::<&str, Option<u16>>::new(Option::is_some);
/// *registered.slot("users-1").lock().await = Some(8080);
/// drop(registered.slot("users-2")); // nothing was put there
/// assert!(registered.existing("users-1").is_some());
/// assert!(registered.existing("users-2").is_none());
/// # }
/// ```
pub struct KeyedLocks<K, T> {
    locks: Locks<K, T>,
    keep: fn(&T) -> bool,
}

impl<K, T> KeyedLocks<K, T>
where
    K: Clone + Eq + Hash,
    T: Default,
{
    /// Creates an empty set. `keep` returns whether a value stays although no slot refers to it.
    pub fn new(keep: fn(&T) -> bool) -> Self {
        Self { locks: Arc::default(), keep }
    }

    /// Returns the slot of a key, with a default value if there is none.
    pub fn slot(&self, key: K) -> Slot<K, T> {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        let lock = Arc::clone(locks.entry(key.clone()).or_default());
        self.slot_of(key, lock)
    }

    /// Returns the slot of a key, if there is one.
    pub fn existing(&self, key: K) -> Option<Slot<K, T>> {
        let locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        let lock = locks.get(&key).map(Arc::clone)?;
        Some(self.slot_of(key, lock))
    }

    /// Returns all slots, in no particular order.
    pub fn all(&self) -> Vec<Slot<K, T>> {
        let locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        locks.iter().map(|(key, lock)| self.slot_of(key.clone(), Arc::clone(lock))).collect()
    }

    /// Returns the number of kept values. A value that is currently locked counts.
    pub fn kept(&self) -> usize {
        let locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        locks.values().filter(|lock| lock.try_lock().map_or(true, |value| (self.keep)(&value))).count()
    }

    fn slot_of(&self, key: K, lock: Lock<T>) -> Slot<K, T> {
        Slot { locks: Arc::clone(&self.locks), keep: self.keep, key, lock: Some(lock) }
    }
}

impl<K: fmt::Debug, T> fmt::Debug for KeyedLocks<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        f.debug_tuple("KeyedLocks").field(&locks.keys().collect::<Vec<_>>()).finish()
    }
}

/// A key and its lock. Dereferences to the lock, and keeps the key alive.
pub struct Slot<K: Eq + Hash, T> {
    locks: Locks<K, T>,
    keep: fn(&T) -> bool,
    key: K,
    /// `None` only during drop.
    lock: Option<Lock<T>>,
}

impl<K: Eq + Hash, T> Slot<K, T> {
    /// Returns the key.
    pub fn key(&self) -> &K {
        &self.key
    }

    pub(crate) fn shared(&self) -> Lock<T> {
        Arc::clone(self.lock.as_ref().expect("it is not being dropped"))
    }
}

impl<K: Eq + Hash, T> Deref for Slot<K, T> {
    type Target = tokio::sync::Mutex<T>;

    fn deref(&self) -> &Self::Target {
        self.lock.as_ref().expect("it is not being dropped")
    }
}

impl<K: Eq + Hash, T> Drop for Slot<K, T> {
    fn drop(&mut self) {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        // Released while the map is locked, so that one of two concurrent drops is the last.
        let Some(lock) = self.lock.take() else { return };
        if Arc::strong_count(&lock) == 2 && lock.try_lock().is_ok_and(|value| !(self.keep)(&value)) {
            locks.remove(&self.key);
        }
    }
}

impl<K: Eq + Hash + fmt::Debug, T> fmt::Debug for Slot<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").field("key", &self.key).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_empty_slot_goes_with_its_last_user_and_a_value_stays() {
        let all = KeyedLocks::<&str, Option<u32>>::new(Option::is_some);
        let slots = || all.locks.lock().expect("whole").len();
        {
            let (one, two) = (all.slot("a"), all.slot("a"));
            drop(one);
            assert_eq!(slots(), 1, "it is in use");
            *two.lock().await = Some(7);
        }
        assert_eq!((slots(), all.kept()), (1, 1));
        assert_eq!(all.all().iter().map(|slot| *slot.key()).collect::<Vec<_>>(), ["a"]);
        {
            let known = all.existing("a").expect("it was kept");
            *known.lock().await = None;
        }
        assert_eq!(slots(), 0);
        assert!(all.existing("a").is_none());
    }
}
