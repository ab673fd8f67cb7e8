//! Bounds the number of series, whatever a registry lists.

use std::collections::HashSet;

use failover_core::inspect::{EndpointStats, ServiceStats};

/// How many services and endpoints have series of their own in one reading.
///
/// A registry decides how many endpoints there are, so that without a limit it decides how large a
/// scrape is. What a limit leaves out is counted in `failover_series_left_out`; the series of whole
/// services count the attempts on all their endpoints nevertheless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    services: usize,
    endpoints: usize,
}

impl Default for Limits {
    /// 200 services and 2 000 endpoints: at most about 33 000 series.
    fn default() -> Self {
        Self { services: 200, endpoints: 2_000 }
    }
}

impl Limits {
    /// Returns the default limits.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the number of services. Default: 200. Those that come first by name have series, about 55
    /// each and 2 more for each source.
    pub fn services(mut self, services: usize) -> Self {
        self.services = services;
        self
    }

    /// Sets the number of endpoints of all services together. Default: 2 000; 0 is valid. Each has 10
    /// series.
    ///
    /// No service loses endpoints to one that has more: each gets its share, and what it does not use is
    /// left to the others. Within a service, those that come first by tier and id have series.
    pub fn endpoints(mut self, endpoints: usize) -> Self {
        self.endpoints = endpoints;
        self
    }

    /// Chooses what has series: services by name and query, each with some of its endpoints.
    pub(crate) fn choose<'a>(&self, all: &'a [ServiceStats]) -> Chosen<'a> {
        let mut services: Vec<_> = all.iter().map(|service| (service, Vec::new())).collect();
        services.sort_by_key(|(service, _)| (&service.service, &service.query));
        // Two of one name and query are of two managers or fixed lists: one series cannot show both.
        services.dedup_by_key(|(service, _)| (&service.service, &service.query));
        services.truncate(self.services);
        let mut smallest_first: Vec<_> = (0..services.len()).collect();
        smallest_first.sort_by_key(|index| services[*index].0.endpoints.len());
        let mut left = self.endpoints;
        for (done, index) in smallest_first.iter().enumerate() {
            let share = left / (smallest_first.len() - done);
            let (service, chosen) = &mut services[*index];
            // Names of endpoints of several sources can be equal: `a@b` can be an id as well.
            let mut names = HashSet::new();
            let mut is_new =
                |of: &'a EndpointStats| service.sources.len() < 2 || names.insert(of.name.as_str());
            *chosen = service.endpoints.iter().filter(|of| is_new(of)).take(share).collect();
            left -= chosen.len();
        }
        let shown: usize = services.iter().map(|(_, chosen)| chosen.len()).sum();
        let listed: usize = all.iter().map(|service| service.endpoints.len()).sum();
        Chosen { left_out: (all.len() - services.len(), listed - shown), services }
    }
}

/// What has series.
pub(crate) struct Chosen<'a> {
    services: Vec<(&'a ServiceStats, Vec<&'a EndpointStats>)>,
    /// The numbers of services and endpoints that have none.
    pub(crate) left_out: (usize, usize),
}

impl<'a> Chosen<'a> {
    pub(crate) fn services(&self) -> impl Iterator<Item = &'a ServiceStats> {
        self.services.iter().map(|(service, _)| *service)
    }

    pub(crate) fn endpoints(&self) -> impl Iterator<Item = (&'a ServiceStats, &'a EndpointStats)> {
        self.services.iter().flat_map(|(service, chosen)| chosen.iter().map(|of| (*service, *of)))
    }

    /// Leaves out the endpoints for which this returns false.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&ServiceStats, &EndpointStats) -> bool) {
        for (service, chosen) in &mut self.services {
            let before = chosen.len();
            chosen.retain(|of| keep(service, of));
            self.left_out.1 += before - chosen.len();
        }
    }
}
