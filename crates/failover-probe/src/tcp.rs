//! A probe that only connects.

use failover_core::probe::{Probe, ProbeOutcome, ProbeTarget};
use failover_core::{Error, async_trait};
use failover_provider_kit::{ConnectTarget, Dialer};

use crate::client::{describe, dialer};

/// Considers an endpoint healthy if it accepts a TCP connection, which is then closed.
#[derive(Clone, Debug)]
pub struct TcpProbe {
    pub(crate) dialer: Dialer,
}

impl TcpProbe {
    /// Creates a probe.
    pub fn new() -> Self {
        Self { dialer: dialer() }
    }
}

impl Default for TcpProbe {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Probe for TcpProbe {
    async fn probe(&self, target: &ProbeTarget) -> Result<ProbeOutcome, Error> {
        let rule = |ip| target.ensure_allowed(ip);
        let to = ConnectTarget::new(target.endpoint().address(), target.port()).allowed(&rule);
        let stream = self.dialer.connect(&to).await.map_err(|error| describe(target, &error))?;
        let address = stream.peer_addr().map_or_else(|_| target.authority(), |address| address.to_string());
        Ok(ProbeOutcome::healthy(format!("connected to {address}")))
    }
}
