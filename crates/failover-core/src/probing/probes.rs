//! The probes of a manager by protocol, and the limit of concurrent probes.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::codec::duration::rough;
use crate::contract::probe::{Probe, ProbeOutcome, ProbeTarget};
use crate::error::{Error, ErrorKind};
use crate::model::endpoint::Endpoint;
use crate::runtime::catch_panic::catch_panic;

/// The probes of a manager by protocol, and the limit of concurrent probes.
pub(crate) struct Probes {
    by_protocol: ProbesByProtocol,
    permits: Semaphore,
}

/// The probes that a builder has, by protocol in lower case.
#[derive(Default)]
pub(crate) struct ProbesByProtocol(HashMap<String, Arc<dyn Probe>>);

impl ProbesByProtocol {
    /// Adds probes; a later one for the same protocol replaces the earlier one.
    pub(crate) fn add<P: Into<String>>(&mut self, probes: impl IntoIterator<Item = (P, Arc<dyn Probe>)>) {
        self.0.extend(
            probes.into_iter().map(|(protocol, probe)| (protocol.into().to_ascii_lowercase(), probe)),
        );
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for ProbesByProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A probe may hold credentials and need not implement `Debug`.
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl fmt::Debug for Probes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.by_protocol.fmt(f)
    }
}

impl Probes {
    pub(crate) fn new(by_protocol: ProbesByProtocol, at_a_time: u32) -> Self {
        Self { by_protocol, permits: Semaphore::new(at_a_time as usize) }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_protocol.is_empty()
    }

    /// Returns the probe for an endpoint's protocol, ignoring case.
    pub(crate) fn for_endpoint(&self, endpoint: &Endpoint) -> Option<&Arc<dyn Probe>> {
        self.by_protocol.0.get(&endpoint.protocol().to_ascii_lowercase())
    }

    /// Probes once, after waiting for a permit, within the health check's timeout. A panic is
    /// returned as an error.
    pub(crate) async fn ask(&self, probe: &dyn Probe, target: &ProbeTarget) -> Result<ProbeOutcome, Error> {
        // The semaphore is never closed.
        let _permit = self.permits.acquire().await;
        let limit = target.health_check().timeout();
        match catch_panic(tokio::time::timeout(limit, probe.probe(target))).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Error::new(ErrorKind::Timeout, format!("no answer in {}", rough(limit)))),
            Err(panic) => Err(Error::new(ErrorKind::Internal, format!("the probe panicked: {panic}"))),
        }
    }
}
