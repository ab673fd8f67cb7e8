//! The subject of the tests: what a provider crate tells the suite.

use std::sync::Arc;
use std::time::Duration;

use failover_core::provider::Provider;
use failover_core::{Endpoint, Error, async_trait};

use crate::together::together;

/// How many endpoints the default `write_all` and `remove_all` write at a time.
const AT_ONCE: usize = 16;

/// A kind of provider and its backend.
///
/// Only [`provider`](Self::provider) is required. What the suite cannot know about a backend, a hook
/// tells it. A case whose hook is missing is skipped, and its level is not reached:
///
/// | hook | tells | default | without it |
/// |---|---|---|---|
/// | [`provider`](Self::provider) | another connected provider on the same backend | required | |
/// | [`unconnected`](Self::unconnected) | another one on which `connect` was not called | none | 35 is skipped |
/// | [`write`](Self::write), [`remove`](Self::remove) | how an endpoint comes into the backend and leaves it | the provider's registry | for a read-only provider 11, 20, 21, 23, 30 to 32, 34, 35 and 60 to 62 are skipped |
/// | [`write_all`](Self::write_all), [`remove_all`](Self::remove_all) | the same for many endpoints | `write` and `remove`, 16 at a time | |
/// | [`crowd`](Self::crowd) | how many endpoints clause 60 writes: fewer only if the backend cannot hold 10 000 | 10 000 | |
/// | [`outage`](Self::outage) | starts and ends an outage of the backend | none | 30 to 35 are skipped; they do not apply to `AddressTrust::InProcess` |
/// | [`hostile`](Self::hostile) | puts broken entries beside good ones, and removes them | none | 61 is skipped; it does not apply to `AddressTrust::InProcess` |
/// | [`renewal`](Self::renewal) | how long until every owner has renewed what it has registered | `calm` | |
/// | [`has_secrets`](Self::has_secrets) | whether the provider is given a token or a password | true | |
/// | [`secrets`](Self::secrets), [`shown`](Self::shown) | texts that must not appear anywhere, and where they might | none | 51 is skipped, unless there are no secrets |
/// | [`patience`](Self::patience) | how long a change may take to arrive: for a provider that polls, more than its interval | 5 s | |
/// | [`calm`](Self::calm) | how long to wait to see that nothing happens: for a provider that polls, more than its interval | 300 ms | |
/// | [`service`](Self::service) | the name of the service that a clause uses | `conformance-CLAUSE-PROCESS` | |
/// | [`backend`](Self::backend) | the backend and its version, for the report | none | |
#[async_trait]
pub trait Subject: Send + Sync {
    /// Returns another connected provider on the same backend.
    ///
    /// # Errors
    ///
    /// Returns an error if a provider cannot be created; every case then fails.
    async fn provider(&self) -> Result<Arc<dyn Provider>, Error>;

    /// Returns another provider on the same backend, on which `connect` was not called. Default: `None`,
    /// which skips the case about it.
    ///
    /// # Errors
    ///
    /// Returns an error if it cannot be created; the case then fails.
    async fn unconnected(&self) -> Result<Option<Arc<dyn Provider>>, Error> {
        Ok(None)
    }

    /// Returns the backend and its version for the report, such as `consul 1.21.4`; default none.
    fn backend(&self) -> String {
        String::new()
    }

    /// Returns the name of the service that the case of a clause uses; default
    /// `conformance-CLAUSE-PROCESS`. No two clauses may share one.
    fn service(&self, clause: u32) -> String {
        // Keeps concurrent runs on one backend apart, and a repeated run from what the first one left:
        // so it does not come from the seed.
        format!("conformance-{clause}-{}", std::process::id())
    }

    /// Writes an endpoint to the backend, as its operator does. Returns whether the subject can;
    /// the cases that need an endpoint are skipped if not.
    ///
    /// The default registers it through the provider, if that has a registry. A subject of a read-only
    /// provider overrides it: it changes the zone of a name server, or writes the file. The cases tell
    /// endpoints apart by their addresses, so that a backend need not keep their ids.
    ///
    /// # Errors
    ///
    /// Returns an error if the backend refuses; the case then fails.
    async fn write(&self, provider: &dyn Provider, endpoint: &Endpoint) -> Result<bool, Error> {
        let Some(registry) = provider.registry() else { return Ok(false) };
        registry.register(endpoint).await.map(|()| true)
    }

    /// Removes an endpoint from the backend: see [`write`](Self::write).
    ///
    /// # Errors
    ///
    /// Returns an error if the backend refuses; the case then fails.
    async fn remove(&self, provider: &dyn Provider, endpoint: &Endpoint) -> Result<bool, Error> {
        let Some(registry) = provider.registry() else { return Ok(false) };
        registry.deregister(endpoint.service(), endpoint.id()).await.map(|_| true)
    }

    /// Writes many endpoints, all of one service. The default calls [`write`](Self::write) for each, 16
    /// at a time; override it if the backend takes many at once.
    ///
    /// # Errors
    ///
    /// Returns an error if the backend refuses; the case then fails.
    async fn write_all(&self, provider: &dyn Provider, endpoints: &[Endpoint]) -> Result<bool, Error> {
        let writes = endpoints.iter().map(|endpoint| self.write(provider, endpoint));
        Ok(together(AT_ONCE, writes).await?.into_iter().all(|can| can))
    }

    /// Removes many endpoints: see [`write_all`](Self::write_all).
    ///
    /// # Errors
    ///
    /// Returns an error if the backend refuses.
    async fn remove_all(&self, provider: &dyn Provider, endpoints: &[Endpoint]) -> Result<bool, Error> {
        let removals = endpoints.iter().map(|endpoint| self.remove(provider, endpoint));
        Ok(together(AT_ONCE, removals).await?.into_iter().all(|can| can))
    }

    /// Returns how many endpoints of one service the case about many endpoints writes; default 10 000.
    /// Return fewer only if the backend cannot hold that many, and say why beside it: a DNS message,
    /// for example, holds about 4000 addresses.
    fn crowd(&self) -> usize {
        10_000
    }

    /// Returns how long a change may take to reach another provider on the backend; default 5 s.
    fn patience(&self) -> Duration {
        Duration::from_secs(5)
    }

    /// Returns how long the suite waits to verify that nothing happens; default 300 ms. Increase it
    /// for a slow backend.
    fn calm(&self) -> Duration {
        Duration::from_millis(300)
    }

    /// Returns how long it takes until every owner has renewed what it has registered, such as a time
    /// to live or a lease; default [`calm`](Self::calm). Make the provider's interval short rather than
    /// this long.
    fn renewal(&self) -> Duration {
        self.calm()
    }

    /// Starts or ends an outage of the backend. Returns whether the subject supports that; default
    /// false, which skips the cases about outages. Is also called to end an outage that has not begun.
    ///
    /// A provider whose `info` states `AddressTrust::InProcess` has no backend that could be away.
    async fn outage(&self, begins: bool) -> bool {
        let _ = begins;
        false
    }

    /// Writes broken entries of a service into the backend beside its good ones, as other software or an
    /// attacker could, or removes them again. Returns whether the subject supports that; default false,
    /// which skips the case about them. Is also called to remove what was never written.
    ///
    /// Write whatever the backend accepts and no provider should believe: no port, or port 0 or 70000; a
    /// weight of 0, -1 or 1e9; over-long ids, and ids with control characters; broken JSON where JSON is
    /// expected; no address, or one that is no address. Use no address in `10.1.2.0/24`: those are the
    /// good ones.
    async fn hostile(&self, service: &str, begins: bool) -> bool {
        let _ = (service, begins);
        false
    }

    /// Returns whether the provider is given a secret, such as a token or a password; default true. With
    /// false, the clause about secrets does not apply.
    fn has_secrets(&self) -> bool {
        true
    }

    /// Returns texts that must not appear in any output, such as the providers' token.
    fn secrets(&self) -> Vec<String> {
        Vec::new()
    }

    /// Returns the `Debug` output of a provider, its configuration and its builder, for subjects
    /// with secrets.
    fn shown(&self) -> Vec<String> {
        Vec::new()
    }
}
