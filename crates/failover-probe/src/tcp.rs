//! A probe that only connects.

use failover_core::probe::{Probe, ProbeOutcome, ProbeTarget};
use failover_core::{Error, async_trait};

use crate::connect::Lookup;

/// Considers an endpoint healthy if it accepts a TCP connection, which is then closed.
#[derive(Clone, Debug, Default)]
pub struct TcpProbe {
    lookup: Lookup,
}

impl TcpProbe {
    /// Creates a probe.
    pub fn new() -> Self {
        Self::default()
    }
}

#[async_trait]
impl Probe for TcpProbe {
    async fn probe(&self, target: &ProbeTarget) -> Result<ProbeOutcome, Error> {
        let (_, address) = self.lookup.connect(target).await?;
        Ok(ProbeOutcome::healthy(format!("connected to {address}")))
    }
}
