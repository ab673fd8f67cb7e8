//! A probe that only connects.

use failover_core::probe::{Probe, ProbeOutcome, ProbeTarget};
use failover_core::{Error, async_trait};

use crate::connect::Lookup;

/// Finds an endpoint healthy when it takes a TCP connection, which is closed again at once.
#[derive(Clone, Debug, Default)]
pub struct TcpProbe {
    lookup: Lookup,
}

impl TcpProbe {
    /// A probe; there is nothing to set.
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
