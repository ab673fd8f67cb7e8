//! The endpoints of a service as tower's `Discover`.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use failover_core::provider::EndpointEntry;
use failover_core::{
    Endpoint, EndpointChanges, EndpointId, EndpointList, Error, Health, Lifecycle, ServiceHandle,
};
use futures_core::Stream;
use tower::discover::Change;

/// The endpoints of a service for tower's balancer: a `Discover` whose services `make` creates.
///
/// Lists the endpoints that are in service and not unhealthy by their source; if all are unhealthy, all
/// of them. A change of an endpoint's
/// address, port, protocol or server name replaces its service. The balancer makes one attempt per
/// request, and knows no breakers; a [`FailoverLayer`](crate::FailoverLayer) does without a balancer.
///
/// ```
/// use failover_core::ServiceHandle;
/// use failover_tower::EndpointDiscover;
/// use tower::balance::p2c::Balance;
/// use tower::load::{CompleteOnResponse, PendingRequestsDiscover};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # async fn send(_: String, _: http::Request<()>) -> Result<http::Response<()>, std::io::Error> { Ok(http::Response::new(())) }
/// let users = ServiceHandle::fixed("users", ["http://10.0.0.1:80", "http://10.0.0.2:80"])?;
/// let discover = EndpointDiscover::new(&users, |endpoint| {
///     let authority = endpoint.authority();
///     tower::service_fn(move |request| send(authority.clone(), request))
/// });
/// let discover = PendingRequestsDiscover::new(discover, CompleteOnResponse::default());
/// let balance = Balance::new(discover);
/// # use tower::ServiceExt;
/// # let response = balance.oneshot(http::Request::new(())).await.map_err(|error| error.to_string())?;
/// # assert_eq!(response.status(), 200);
/// # Ok(()) }
/// ```
pub struct EndpointDiscover<M> {
    make: M,
    known: BTreeMap<EndpointId, Arc<Endpoint>>,
    pending: VecDeque<Pending>,
    waiting: Option<Waiting>,
}

type Waiting = Pin<Box<dyn Future<Output = (EndpointChanges, Result<EndpointList, Error>)> + Send>>;

enum Pending {
    Insert(Arc<Endpoint>),
    Remove(EndpointId),
}

impl<M> fmt::Debug for EndpointDiscover<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointDiscover").field("endpoints", &self.known.len()).finish_non_exhaustive()
    }
}

impl<M> EndpointDiscover<M> {
    /// Creates the stream of a service's endpoints, starting with the current ones.
    pub fn new<C, S>(service: &ServiceHandle<C>, make: M) -> Self
    where
        M: FnMut(&Arc<Endpoint>) -> S,
    {
        let mut changes = service.changes();
        let current = changes.current();
        let mut discover = Self { make, known: BTreeMap::new(), pending: VecDeque::new(), waiting: None };
        discover.compare(&current);
        discover.waiting = Some(wait(changes));
        discover
    }

    /// Queues the differences between the known endpoints and a list.
    fn compare(&mut self, list: &EndpointList) {
        let in_service = |entry: &&EndpointEntry| entry.lifecycle() == Lifecycle::InService;
        let healthy = |entry: &&EndpointEntry| entry.health() != Health::Unhealthy;
        let entries = || list.endpoints.iter().filter(in_service);
        // If all are reported as unhealthy, the report is doubtful, and all are a last resort.
        let all = !entries().any(|entry| healthy(&entry));
        let mut now = BTreeMap::new();
        for entry in entries().filter(|entry| all || healthy(entry)) {
            // The balancer knows one service per key; the first entry is that of the highest tier.
            now.entry(entry.endpoint().id().clone()).or_insert_with(|| Arc::clone(entry.endpoint()));
        }
        let gone = self.known.keys().filter(|id| !now.contains_key(*id)).cloned();
        self.pending.extend(gone.map(Pending::Remove));
        for (id, endpoint) in &now {
            if !self.known.get(id).is_some_and(|known| connects_alike(known, endpoint)) {
                self.pending.push_back(Pending::Insert(Arc::clone(endpoint)));
            }
        }
        self.known = now;
    }
}

fn wait(mut changes: EndpointChanges) -> Waiting {
    Box::pin(async move {
        let list = changes.changed().await;
        (changes, list)
    })
}

fn connects_alike(before: &Endpoint, now: &Endpoint) -> bool {
    (before.address(), before.port(), before.protocol(), before.server_name())
        == (now.address(), now.port(), now.protocol(), now.server_name())
}

impl<M> Unpin for EndpointDiscover<M> {}

impl<M, S> Stream for EndpointDiscover<M>
where
    M: FnMut(&Arc<Endpoint>) -> S,
{
    type Item = Result<Change<EndpointId, S>, Error>;

    /// Ends when the manager is closed, after which the balancer keeps the endpoints that it has.
    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match self.pending.pop_front() {
                Some(Pending::Insert(endpoint)) => {
                    let service = (self.make)(&endpoint);
                    return Poll::Ready(Some(Ok(Change::Insert(endpoint.id().clone(), service))));
                }
                Some(Pending::Remove(id)) => return Poll::Ready(Some(Ok(Change::Remove(id)))),
                None => {}
            }
            let Some(waiting) = &mut self.waiting else { return Poll::Ready(None) };
            let (changes, list) = std::task::ready!(waiting.as_mut().poll(context));
            match list {
                Ok(list) => {
                    self.compare(&list);
                    self.waiting = Some(wait(changes));
                }
                Err(_) => self.waiting = None,
            }
        }
    }
}
