//! Calls that stay in flight after their attempt has ended: streams.

use std::fmt;
use std::sync::Arc;

use crate::client::service::ServiceHandle;
use crate::contract::classify::Classified;
use crate::engine::Engine;
use crate::model::endpoint::Endpoint;

/// A call in flight beyond the end of its attempt, until dropped.
///
/// See [`ServiceHandle::keep_in_flight`].
#[must_use = "dropped at once, it keeps nothing in flight"]
pub struct InFlightGuard {
    engine: Arc<Engine>,
    state: u32,
}

impl fmt::Debug for InFlightGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InFlightGuard").field("service", self.engine.name()).finish_non_exhaustive()
    }
}

impl InFlightGuard {
    /// Ends the call with the outcome of its reply, which is known only at its end: gRPC's trailers, or
    /// a stream that broke off.
    ///
    /// A failure counts against the endpoint, although its attempt has been counted as a success; any
    /// other outcome is the same as dropping the guard. No attempt is counted, and none follows.
    pub fn finish(self, outcome: impl Into<Classified>) {
        self.engine.report_late(self.state, outcome.into());
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.engine.end_keeping(self.state);
    }
}

impl<C> ServiceHandle<C> {
    /// Keeps a call in flight to an endpoint until the guard is dropped.
    ///
    /// For replies that are streamed: an attempt ends with the head of the reply, and its outcome,
    /// latency and retries are known then, while the body still costs the endpoint something. The
    /// algorithms that count calls in flight and `max_in_flight` see the call until its body ends.
    /// The guard counts as no attempt, and may exceed the limit.
    ///
    /// Returns `None` for an endpoint that has left the service or moved, which gets no calls anyway.
    ///
    /// ```
    /// # use failover_core::ServiceHandle;
    /// # struct Body;
    /// # impl Body { async fn chunk(&mut self) -> Option<Vec<u8>> { None } }
    /// # async fn get(_: String) -> Result<Body, std::io::Error> { Ok(Body) }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let users = ServiceHandle::fixed("users", ["http://10.0.0.1:80", "http://10.0.0.2:80"])?;
    /// let mut done = users.execute(async |endpoint| get(endpoint.url("/export")).await).await?;
    /// let in_flight = users.keep_in_flight(&done.endpoint);
    /// assert_eq!(users.stats().in_flight, 1);
    /// while let Some(chunk) = done.value.chunk().await {
    ///     println!("{} bytes", chunk.len());
    /// }
    /// drop(in_flight);
    /// assert_eq!(users.stats().in_flight, 0);
    /// # Ok(()) }
    /// ```
    pub fn keep_in_flight(&self, endpoint: &Endpoint) -> Option<InFlightGuard> {
        let engine = Arc::clone(self.engine());
        let state = engine.begin_keeping(endpoint)?;
        Some(InFlightGuard { engine, state })
    }
}

#[cfg(test)]
mod tests {
    use crate::client::service::ServiceHandle;
    use crate::config::{Algorithm, FailoverConfig, LoadBalancerConfig};
    use crate::contract::classify::Outcome;
    use crate::engine::availability::Availability;
    use crate::inspect::stats::EndpointStats;

    fn service(limit: Option<u32>) -> ServiceHandle {
        let mut balancer = LoadBalancerConfig::builder();
        if let Some(limit) = limit {
            balancer = balancer.max_in_flight(limit);
        }
        let balancer = balancer.algorithm(Algorithm::LeastConnections).build().expect("valid");
        ServiceHandle::builder("users")
            .endpoints(["10.0.0.1:80", "10.0.0.2:80"])
            .config(FailoverConfig::builder().load_balancer(balancer).build().expect("valid"))
            .build()
            .expect("valid")
    }

    #[tokio::test]
    async fn a_streamed_reply_counts_as_a_call_until_it_ends_and_as_no_attempt() {
        let users = service(None);
        let first = users.endpoint("10.0.0.1:80").expect("listed");
        let kept: Vec<_> = (0..3).map(|_| users.keep_in_flight(&first).expect("listed")).collect();
        for _ in 0..20 {
            let done = users.execute(async |_| Ok::<_, std::io::Error>(())).await.expect("answers");
            assert_eq!(done.endpoint.address(), "10.0.0.2", "the other has three calls");
        }
        let stats = users.stats();
        let of_first = stats.endpoints.iter().find(|of| of.id == *first.id()).expect("listed");
        assert_eq!((stats.in_flight, of_first.in_flight, of_first.attempts), (3, 3, 0));
        assert_eq!((stats.total_requests, stats.cancelled), (20, 0));
        drop(kept);
        let stats = users.stats();
        assert_eq!((stats.in_flight, stats.total_requests, stats.cancelled), (0, 20, 0));
    }

    #[test]
    fn streams_fill_an_endpoint_up_to_its_limit() {
        let users = service(Some(1));
        let endpoints = users.endpoints();
        let mut kept: Vec<_> =
            endpoints.iter().filter_map(|entry| users.keep_in_flight(entry.endpoint())).collect();
        assert_eq!((kept.len(), users.select().expect_err("both are full").code()), (2, "OVERLOADED"));
        kept.pop();
        assert_eq!(users.select().expect("one has room").endpoint().id(), endpoints[1].endpoint().id());
    }

    #[test]
    fn an_endpoint_that_left_keeps_its_count_until_its_streams_end() {
        let users = service(None);
        let first = users.endpoint("10.0.0.1:80").expect("listed");
        let keep = || users.keep_in_flight(&first).expect("listed");
        let (kept, failed) = (keep(), keep());
        users.replace_endpoints(["10.0.0.2:80", "10.0.0.3:80"]).expect("valid");
        assert_eq!(users.stats().in_flight, 2);
        assert!(users.keep_in_flight(&first).is_none(), "it has left");
        failed.finish(Outcome::Failure);
        let of_new = users.stats().endpoints.iter().map(|of| of.in_flight).sum::<u32>();
        assert_eq!(of_new, 0, "its state belongs to no other");
        drop(kept);
        users.replace_endpoints(["10.0.0.2:80"]).expect("valid");
        assert_eq!(users.stats().in_flight, 0);
    }

    #[test]
    fn an_endpoint_is_found_wherever_it_stands_in_the_list() {
        let users = service(None);
        let second = users.endpoint("10.0.0.2:80").expect("listed");
        let copy = second.to_builder().build().expect("valid");
        let in_flight = || {
            let stats = users.stats();
            stats.endpoints.iter().find(|of| of.id == *second.id()).map(|of| of.in_flight)
        };
        for list in [
            &["10.0.0.2:80"][..],
            &["10.0.0.1:80", "10.0.0.2:80"],
            &["10.0.0.1:80", "10.0.0.11:80", "10.0.0.2:80"],
        ] {
            users.replace_endpoints(list.iter().copied()).expect("valid");
            let kept =
                [&second, &second, &copy.clone().into()].map(|endpoint| users.keep_in_flight(endpoint));
            assert_eq!((kept.iter().flatten().count(), in_flight()), (3, Some(3)), "{list:?}");
        }
        users.replace_endpoints(["10.0.0.1:80", "10.0.0.3:80"]).expect("valid");
        assert!(users.keep_in_flight(&second).is_none() && users.keep_in_flight(&copy).is_none());
    }

    #[tokio::test]
    async fn replies_that_end_in_failure_take_their_endpoint_out_although_their_heads_succeeded() {
        let users = service(None);
        let mut late = 0;
        let all_are_in = || {
            let in_use = |of: &EndpointStats| matches!(of.availability, Availability::In { .. });
            users.stats().endpoints.iter().all(in_use)
        };
        while all_are_in() && late < 20 {
            let done = users.execute(async |_| Ok::<_, std::io::Error>(())).await.expect("a head");
            let kept = users.keep_in_flight(&done.endpoint).expect("listed");
            if done.endpoint.address() == "10.0.0.1" {
                kept.finish((Outcome::Failure, "INTERNAL in trailers".to_owned()));
                late += 1;
            } else {
                kept.finish(Outcome::Success);
            }
        }
        assert_eq!(late, 7, "3 points for each, less one for each head but the first, up to 15");
        let shown = users.explain().to_string();
        assert!(shown.contains("INTERNAL in trailers"), "{shown}");
        assert_eq!(users.stats().in_flight, 0);
    }
}
