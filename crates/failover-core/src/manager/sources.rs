//! What a service is at each of its providers.

use std::sync::Arc;

use crate::config::ManagerConfig;
use crate::contract::provider::{Feature, PortChoice, Query};
use crate::error::{Error, ErrorKind};
use crate::manager::providers::{Named, Providers};
use crate::model::endpoint::ServiceName;

/// One source of a service's endpoints: a provider, and what the service is there.
///
/// Created by [`source`]. Without more, it is the service of the same name at that provider. Several
/// sources may be of one provider.
///
/// ```
/// # async fn example(manager: failover_core::FailoverManager) -> Result<(), failover_core::Error> {
/// use failover_core::source;
///
/// // Calls go to the second source while too few endpoints of the first one are available.
/// let minio = manager
///     .service_from(
///         "minio",
///         [source("consul-dc1"), source("consul-dc2").service("minio-replica").tag("replica")],
///     )
///     .await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceSource {
    provider: String,
    tier: Option<u32>,
    service: Option<String>,
    conditions: Query,
}

/// Returns a source of a service: the provider of this name.
pub fn source(provider: impl Into<String>) -> ServiceSource {
    ServiceSource { provider: provider.into(), tier: None, service: None, conditions: Query::all() }
}

impl ServiceSource {
    /// Sets the service's name at this provider, in the form that the provider's users write, such
    /// as `users.shop:http` for Kubernetes.
    pub fn service(mut self, service: impl Into<String>) -> Self {
        self.service = Some(service.into());
        self
    }

    /// Requires this tag of its endpoints.
    pub fn tag(self, tag: impl Into<String>) -> Self {
        self.conditions(|query| query.tag(tag))
    }

    /// Requires this value under this key of the metadata of its endpoints.
    pub fn metadata(self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.conditions(|query| query.metadata(key, value))
    }

    /// Selects another namespace than the provider's own.
    pub fn namespace(self, namespace: impl Into<String>) -> Self {
        self.conditions(|query| query.namespace(namespace))
    }

    /// Chooses the port, by name or by number, of endpoints that have several.
    pub fn port(self, port: impl Into<PortChoice>) -> Self {
        self.conditions(|query| query.port(port))
    }

    /// Sets the tier: the endpoints of tier 0 receive calls first, those of the next tier if too few
    /// of them are available. Default: the position in the list of sources, starting at 0.
    pub fn tier(mut self, tier: u32) -> Self {
        self.tier = Some(tier);
        self
    }

    pub(super) fn with(provider: &str, conditions: Query) -> Self {
        Self { conditions, ..source(provider) }
    }

    fn conditions(self, add: impl FnOnce(Query) -> Query) -> Self {
        Self { conditions: add(self.conditions), ..self }
    }
}

impl<P: AsRef<str>> From<(P, u32)> for ServiceSource {
    fn from((provider, tier): (P, u32)) -> Self {
        source(provider.as_ref()).tier(tier)
    }
}

/// A request for a service: its name here, its conditions, and where it comes from.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) key: ServiceKey,
    pub(super) route: Route,
}

/// Identifies a service of a manager.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ServiceKey {
    pub(super) name: ServiceName,
    /// The conditions other than the name, if the service was asked for by a query.
    pub(super) query: Option<Arc<str>>,
}

/// Where a service's endpoints come from.
#[derive(Clone, Debug)]
pub(super) enum Route {
    /// The default provider and its fallbacks, with these conditions.
    Default(Query),
    /// These sources.
    Through(Vec<ServiceSource>),
}

/// A source whose provider was found.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) named: Named,
    pub(super) tier: u32,
    pub(super) query: Query,
    /// The name of the source: that of the provider, or of one of several sources of it.
    pub(super) label: Arc<str>,
    /// The query as users read it, if it is more than the service by its name.
    pub(super) shown: Option<Arc<str>>,
}

impl Request {
    /// A service by its name.
    pub(super) fn named(name: ServiceName, route: Route) -> Self {
        Self { key: ServiceKey { name, query: None }, route }
    }

    /// A service by a query, through the default provider or the named one.
    ///
    /// # Errors
    ///
    /// `Validation` if the query names no service.
    pub(super) fn matching(query: Query, provider: Option<&str>) -> Result<Self, Error> {
        let Some(name) = query.service_name().cloned() else {
            return Err(Error::invalid("query", "Query::all()", "a query for one service: Query::service"));
        };
        let key = ServiceKey { name, query: query.selection().map(Arc::from) };
        let route = match provider {
            None => Route::Default(query),
            Some(provider) => Route::Through(vec![ServiceSource::with(provider, query)]),
        };
        Ok(Self { key, route })
    }

    /// Returns the sources among these providers, at least one.
    pub(super) fn resolve(
        &self,
        providers: &Providers,
        settings: &ManagerConfig,
    ) -> Result<Vec<Wanted>, Error> {
        let name = &self.key.name;
        let conditions = match &self.route {
            Route::Through(sources) => return resolve_sources(providers, name, sources),
            Route::Default(conditions) => conditions,
        };
        let default = providers.by_default(settings.default_provider())?;
        let mut wanted = vec![Wanted::new(name, default, conditions, 0)?];
        if settings.fallback_enabled() {
            for named in providers.iter().filter(|named| named.name != default.name) {
                let tier = wanted.len() as u32;
                wanted.extend(Wanted::fallback(name, named, conditions, tier));
            }
        }
        Ok(wanted)
    }
}

fn resolve_sources(
    providers: &Providers,
    name: &ServiceName,
    sources: &[ServiceSource],
) -> Result<Vec<Wanted>, Error> {
    let mut wanted: Vec<Wanted> = Vec::with_capacity(sources.len());
    for (source, position) in sources.iter().zip(0..) {
        let named = providers.named(&source.provider)?;
        let tier = source.tier.unwrap_or(position);
        let one = Wanted::asking(name, named, source.service.as_deref(), &source.conditions, tier)?;
        if wanted.iter().any(|other| other.named.name == named.name && other.query == one.query) {
            let what =
                one.shown.map_or_else(|| named.name.to_string(), |query| format!("{}: {query}", named.name));
            return Err(Error::invalid("sources", format!("\"{what}\" twice"), "each source once"));
        }
        wanted.push(one);
    }
    if wanted.is_empty() {
        return Err(Error::invalid("sources", "none", "at least one source of the service"));
    }
    label(&mut wanted);
    Ok(wanted)
}

/// Gives the sources of a provider that has several of them different names: with the service, or,
/// if two have the same one, with the position.
fn label(sources: &mut [Wanted]) {
    let all: Vec<_> =
        sources.iter().map(|of| (Arc::clone(&of.named.name), of.query.service_name().cloned())).collect();
    for (source, position) in sources.iter_mut().zip(1..) {
        let provider = &source.named.name;
        let service = source.query.service_name();
        let of_provider = || all.iter().filter(|(other, _)| other == provider);
        if of_provider().count() < 2 {
            continue;
        }
        let twins = of_provider().filter(|(_, other)| other.as_ref() == service).count();
        source.label = match service {
            Some(service) if twins == 1 => format!("{provider}/{service}").into(),
            _ => format!("{provider}/{position}").into(),
        };
    }
}

impl Wanted {
    /// # Errors
    ///
    /// `Unsupported` if the provider cannot answer such a query.
    fn new(name: &ServiceName, named: &Named, conditions: &Query, tier: u32) -> Result<Self, Error> {
        Self::asking(name, named, None, conditions, tier)
    }

    /// Returns a fallback of the default provider, if that provider can answer the query.
    pub(super) fn fallback(name: &ServiceName, named: &Named, conditions: &Query, tier: u32) -> Option<Self> {
        let wanted = Self::new(name, named, conditions, tier);
        wanted
            .inspect_err(|error| tracing::debug!(target: "failover", "{name}: not a fallback: {error}"))
            .ok()
    }

    fn asking(
        name: &ServiceName,
        named: &Named,
        text: Option<&str>,
        conditions: &Query,
        tier: u32,
    ) -> Result<Self, Error> {
        let here = |error: Error| error.with_detail("provider", &*named.name);
        let query = match text {
            Some(text) => named.provider.query(text).map_err(here)?,
            None => Query::service(name),
        };
        let query = query.and(conditions);
        named.ensure_answers(&query)?;
        let at_source = query.service_name().filter(|at_source| *at_source != name);
        let parts = at_source.map(ToString::to_string).into_iter().chain(query.selection());
        let shown = parts.collect::<Vec<_>>().join(", ");
        let shown = (!shown.is_empty()).then(|| Arc::from(shown));
        Ok(Self { named: named.clone(), tier, query, label: Arc::clone(&named.name), shown })
    }
}

impl Named {
    /// Ensures that the provider can answer a query.
    ///
    /// # Errors
    ///
    /// `Unsupported` if it has no namespaces, or no endpoints with several ports.
    pub(super) fn ensure_answers(&self, query: &Query) -> Result<(), Error> {
        let lacks = |feature| !self.features.contains(&feature);
        let message = match (query.namespace_name(), query.port_choice()) {
            (Some(namespace), _) if lacks(Feature::Namespaces) => {
                format!("provider {} has no namespaces; leave out the namespace {namespace:?}", self.name)
            }
            (_, Some(port)) if lacks(Feature::Ports) => {
                format!("each endpoint of provider {} has one port; leave out the port {port}", self.name)
            }
            _ => return Ok(()),
        };
        Err(Error::new(ErrorKind::Unsupported, message).with_detail("provider", &*self.name))
    }
}
