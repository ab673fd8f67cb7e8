//! The metrics, and the values of each.

use failover_core::AttemptClass;
use failover_core::inspect::{
    AttemptCounts, Availability, BreakerState, Durations, Ejections, EndpointStats, ServiceStats,
};

use crate::limits::Chosen;

/// The kind of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// The metrics of one name.
#[derive(Debug)]
pub(crate) struct Family {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) help: &'static str,
    values: fn(&Family, &Chosen<'_>, &mut dyn Sink),
}

/// Takes the values of the metrics, all of one family after the other.
pub(crate) trait Sink {
    fn family(&mut self, family: &Family);
    fn count(&mut self, family: &Family, labels: &[(&'static str, &str)], value: u64);
    fn gauge(&mut self, family: &Family, labels: &[(&'static str, &str)], value: f64);
    fn durations(&mut self, family: &Family, labels: &[(&'static str, &str)], value: &Durations);
}

/// Hands all values to the sink.
pub(crate) fn visit(chosen: &Chosen<'_>, sink: &mut dyn Sink) {
    for family in FAMILIES {
        sink.family(family);
        (family.values)(family, chosen, sink);
    }
}

pub(crate) const FAMILIES: &[Family] = &[
    Family {
        name: "failover_calls_total",
        kind: Kind::Counter,
        help: "Finished calls by outcome: success, rejected, failure, or refused because no endpoint was available.",
        values: |family, chosen, sink| {
            for of in chosen.services() {
                let failed = of.failed_requests.saturating_sub(of.refused);
                for (outcome, count) in [
                    ("success", of.successful_requests),
                    ("rejected", of.rejected_requests),
                    ("failure", failed),
                    ("refused", of.refused),
                ] {
                    sink.count(family, &service(of, &[("outcome", outcome)]), count);
                }
            }
        },
    },
    Family {
        name: "failover_attempts_total",
        kind: Kind::Counter,
        help: "Ended attempts by endpoint and class.",
        values: |family, chosen, sink| {
            for (of, endpoint) in chosen.endpoints() {
                for (class, count) in classes(&endpoint.by_class) {
                    sink.count(
                        family,
                        &service(of, &[("endpoint", &endpoint.name), ("class", class)]),
                        count,
                    );
                }
            }
        },
    },
    Family {
        name: "failover_attempt_duration_seconds",
        kind: Kind::Histogram,
        help: "Durations of attempts on all endpoints, also on those that have left, without cancelled ones.",
        values: |family, chosen, sink| {
            for of in chosen.services() {
                sink.durations(family, &service(of, &[]), &of.attempt_durations);
            }
        },
    },
    Family {
        name: "failover_call_duration_seconds",
        kind: Kind::Histogram,
        help: "Durations of whole calls, with their retries and the waits between.",
        values: |family, chosen, sink| {
            for of in chosen.services() {
                sink.durations(family, &service(of, &[]), &of.call_durations);
            }
        },
    },
    Family {
        name: "failover_endpoint_available",
        kind: Kind::Gauge,
        help: "Whether the endpoint is in rotation: 1 or 0.",
        values: |family, chosen, sink| {
            for (of, endpoint) in chosen.endpoints() {
                let available = matches!(endpoint.availability, Availability::In { .. });
                sink.gauge(
                    family,
                    &service(of, &[("endpoint", &endpoint.name)]),
                    f64::from(u8::from(available)),
                );
            }
        },
    },
    Family {
        name: "failover_breaker_state",
        kind: Kind::Gauge,
        help: "State of the endpoint's breaker: 0 closed, 1 half-open, 2 open.",
        values: |family, chosen, sink| {
            for (of, endpoint) in chosen.endpoints() {
                sink.gauge(family, &service(of, &[("endpoint", &endpoint.name)]), breaker(endpoint));
            }
        },
    },
    Family {
        name: "failover_ejections_total",
        kind: Kind::Counter,
        help: "Endpoints taken out of use by reason, or left in use although the reason was there (enforced=\"false\").",
        values: |family, chosen, sink| {
            for of in chosen.services() {
                for reason in Ejections::reasons() {
                    let counts =
                        [("true", of.ejections.enforced(reason)), ("false", of.ejections.unenforced(reason))];
                    for (enforced, count) in counts {
                        sink.count(
                            family,
                            &service(of, &[("enforced", enforced), ("reason", reason.as_str())]),
                            count,
                        );
                    }
                }
            }
        },
    },
    Family {
        name: "failover_retry_tokens",
        kind: Kind::Gauge,
        help: "Remaining tokens of the retry budget.",
        values: |family, chosen, sink| {
            for of in chosen.services() {
                sink.gauge(family, &service(of, &[]), f64::from(of.retry_tokens));
            }
        },
    },
    Family {
        name: "failover_source_age_seconds",
        kind: Kind::Gauge,
        help: "Age of the source's last good answer; absent while there was none.",
        values: |family, chosen, sink| {
            for of in chosen.services() {
                for source in &of.sources {
                    if let Some(age) = source.age {
                        sink.gauge(family, &service(of, &[("source", &source.provider)]), age.as_secs_f64());
                    }
                }
            }
        },
    },
    Family {
        name: "failover_source_stale",
        kind: Kind::Gauge,
        help: "Whether the source's last answer was an error, so that an older answer is used: 1 or 0.",
        values: |family, chosen, sink| {
            for of in chosen.services() {
                for source in &of.sources {
                    let stale = f64::from(u8::from(source.stale));
                    sink.gauge(family, &service(of, &[("source", &source.provider)]), stale);
                }
            }
        },
    },
    Family {
        name: "failover_series_left_out",
        kind: Kind::Gauge,
        help: "Services and endpoints without series of their own, because of the limits.",
        values: |family, chosen, sink| {
            let (services, endpoints) = chosen.left_out;
            sink.gauge(family, &[("kind", "services")], services as f64);
            sink.gauge(family, &[("kind", "endpoints")], endpoints as f64);
        },
    },
];

/// Returns the labels of a service, and these. Its query is a label only where there is one.
fn service<'a>(of: &'a ServiceStats, more: &[(&'static str, &'a str)]) -> Vec<(&'static str, &'a str)> {
    let query = of.query.iter().map(|query| ("query", &**query));
    std::iter::once(("service", of.service.as_str())).chain(query).chain(more.iter().copied()).collect()
}

fn classes(counts: &AttemptCounts) -> impl Iterator<Item = (&'static str, u64)> {
    const CLASSES: [AttemptClass; 7] = [
        AttemptClass::Success,
        AttemptClass::Failure,
        AttemptClass::Timeout,
        AttemptClass::Overload,
        AttemptClass::NotSent,
        AttemptClass::Rejected,
        AttemptClass::Local,
    ];
    let cancelled = std::iter::once(("cancelled", counts.cancelled()));
    CLASSES.into_iter().map(|class| (class.as_str(), counts.of(class))).chain(cancelled)
}

fn breaker(endpoint: &EndpointStats) -> f64 {
    match endpoint.breaker {
        BreakerState::Closed => 0.0,
        BreakerState::HalfOpen => 1.0,
        // And a state of a later version: not closed.
        _ => 2.0,
    }
}
