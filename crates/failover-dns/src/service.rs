//! A service from one line, without a manager of the caller's.

use std::ops::Deref;

use failover_core::{Error, FailoverManager, ServiceHandle};

use crate::url::Line;

/// A service whose endpoints are in DNS, as long as one of its clones lives.
///
/// It dereferences to the [`ServiceHandle`]; a clone of that handle keeps the endpoints it knows, but
/// discovery ends with the last `DnsService`.
#[derive(Clone, Debug)]
pub struct DnsService {
    handle: ServiceHandle,
    manager: FailoverManager,
}

/// Makes a handle of a service from one line.
///
/// | line | asks for |
/// |---|---|
/// | `dns://user-service.prod.svc.cluster.local:8080` | A and AAAA records, with this port |
/// | `srv://_http._tcp.user-service.example.com` | SRV records, which name the ports |
/// | `dns://10.0.0.53/user-service.example.com:8080` | the same from this name server; `[fd00::53]:5353` names a port, too |
///
/// | parameter | meaning | default |
/// |---|---|---|
/// | `server=10.0.0.53:53` | a name server; may be repeated | the system's |
/// | `search=true` | whether search domains apply | `false` |
/// | `protocol=https` | the protocol of the endpoints | [as of the builder](crate::DnsProviderBuilder::protocol) |
/// | `family=4`, `6` or `both` | which addresses are asked for | `both` |
///
/// ```no_run
/// # async fn example() -> Result<(), failover_core::Error> {
/// let users = failover_dns::service("dns://user-service.prod.svc.cluster.local:8080?protocol=http").await?;
/// let pick = users.select()?;
/// println!("{}", pick.endpoint().url("/users/7"));
/// # Ok(()) }
/// ```
///
/// The service is named as in DNS. It waits for the first answer for 5 s at most; a service without one is
/// no error, as the endpoints may come later: [`ServiceHandle::select`] says why there is none.
///
/// # Errors
///
/// Returns `Validation` if the line is not valid, and says what to write; and `Connection` if the system's
/// configuration names no server.
///
/// # Cancel safety
///
/// A dropped future leaves nothing behind.
pub async fn service(line: &str) -> Result<DnsService, Error> {
    let Line { name, provider } = Line::parse(line)?;
    let manager = FailoverManager::builder().provider(provider.build()?).build().await?;
    let handle = manager.service(&name).await?;
    Ok(DnsService { handle, manager })
}

impl DnsService {
    /// Returns the handle of the service.
    pub fn handle(&self) -> &ServiceHandle {
        &self.handle
    }

    /// Returns the manager that looks after the service, for its statistics and its configuration.
    pub fn manager(&self) -> &FailoverManager {
        &self.manager
    }

    /// Ends discovery. What is not closed ends when the last clone is dropped.
    ///
    /// # Errors
    ///
    /// See [`FailoverManager::close`].
    pub async fn close(&self) -> Result<(), Error> {
        self.manager.close().await
    }
}

impl Deref for DnsService {
    type Target = ServiceHandle;

    fn deref(&self) -> &ServiceHandle {
        &self.handle
    }
}
