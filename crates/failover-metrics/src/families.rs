//! The metrics, and the values of each.

use failover_core::AttemptClass;
use failover_core::inspect::{
    AttemptCounts, Availability, BreakerState, Durations, Ejections, EndpointStats, ServiceStats, SourceStats,
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
    values: Values,
}

/// The values of a family: some of each service, endpoint or source.
#[derive(Debug)]
enum Values {
    Service(fn(&ServiceStats, &mut Emit<'_>)),
    Endpoint(fn(&EndpointStats, &mut Emit<'_>)),
    Source(fn(&SourceStats, &mut Emit<'_>)),
    All(fn(&Chosen<'_>, &mut Emit<'_>)),
}

pub(crate) type Labels<'a> = [(&'static str, &'a str)];

/// Takes a value with the labels that it has beside those of its service, endpoint or source.
type Emit<'a> = dyn FnMut(&Labels<'_>, Value<'_>) + 'a;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Value<'a> {
    Count(u64),
    Gauge(f64),
    Durations(&'a Durations),
}

/// Takes the values of the metrics, all of one family after the other.
pub(crate) trait Sink {
    fn family(&mut self, family: &Family);
    fn value(&mut self, family: &Family, labels: &Labels<'_>, value: Value<'_>);
}

/// Hands all values to the sink.
pub(crate) fn visit(chosen: &Chosen<'_>, sink: &mut dyn Sink) {
    for family in FAMILIES {
        sink.family(family);
        match family.values {
            Values::Service(values) => {
                for of in chosen.services() {
                    values(of, &mut |more, value| sink.value(family, &labels(of, None, more), value));
                }
            }
            Values::Endpoint(values) => {
                for (of, endpoint) in chosen.endpoints() {
                    let own = Some(("endpoint", endpoint.name.as_str()));
                    values(endpoint, &mut |more, value| sink.value(family, &labels(of, own, more), value));
                }
            }
            Values::Source(values) => {
                for of in chosen.services() {
                    for source in &of.sources {
                        let own = Some(("source", &*source.provider));
                        values(source, &mut |more, value| sink.value(family, &labels(of, own, more), value));
                    }
                }
            }
            Values::All(values) => values(chosen, &mut |labels, value| sink.value(family, labels, value)),
        }
    }
}

pub(crate) const FAMILIES: &[Family] = &[
    Family {
        name: "failover_calls_total",
        kind: Kind::Counter,
        help: "Finished calls by outcome: success, rejected, failure, or refused because no endpoint was available.",
        values: Values::Service(|of, emit| {
            let failed = of.failed_requests.saturating_sub(of.refused);
            for (outcome, count) in [
                ("success", of.successful_requests),
                ("rejected", of.rejected_requests),
                ("failure", failed),
                ("refused", of.refused),
            ] {
                emit(&[("outcome", outcome)], Value::Count(count));
            }
        }),
    },
    Family {
        name: "failover_attempts_total",
        kind: Kind::Counter,
        help: "Ended attempts by endpoint and class.",
        values: Values::Endpoint(|of, emit| {
            for (class, count) in classes(&of.by_class) {
                emit(&[("class", class)], Value::Count(count));
            }
        }),
    },
    Family {
        name: "failover_attempt_duration_seconds",
        kind: Kind::Histogram,
        help: "Durations of attempts on all endpoints, also on those that have left, without cancelled ones.",
        values: Values::Service(|of, emit| emit(&[], Value::Durations(&of.attempt_durations))),
    },
    Family {
        name: "failover_call_duration_seconds",
        kind: Kind::Histogram,
        help: "Durations of whole calls, with their retries and the waits between.",
        values: Values::Service(|of, emit| emit(&[], Value::Durations(&of.call_durations))),
    },
    Family {
        name: "failover_endpoint_available",
        kind: Kind::Gauge,
        help: "Whether the endpoint is in rotation: 1 or 0.",
        values: Values::Endpoint(|of, emit| {
            emit(&[], truth(matches!(of.availability, Availability::In { .. })));
        }),
    },
    Family {
        name: "failover_breaker_state",
        kind: Kind::Gauge,
        help: "State of the endpoint's breaker: 0 closed, 1 half-open, 2 open.",
        values: Values::Endpoint(|of, emit| emit(&[], Value::Gauge(breaker(of)))),
    },
    Family {
        name: "failover_ejections_total",
        kind: Kind::Counter,
        help: "Endpoints taken out of use by reason, or left in use although the reason was there (enforced=\"false\").",
        values: Values::Service(|of, emit| {
            for reason in Ejections::reasons() {
                let counts =
                    [("true", of.ejections.enforced(reason)), ("false", of.ejections.unenforced(reason))];
                for (enforced, count) in counts {
                    emit(&[("enforced", enforced), ("reason", reason.as_str())], Value::Count(count));
                }
            }
        }),
    },
    Family {
        name: "failover_retry_tokens",
        kind: Kind::Gauge,
        help: "Remaining tokens of the retry budget.",
        values: Values::Service(|of, emit| emit(&[], Value::Gauge(f64::from(of.retry_tokens)))),
    },
    Family {
        name: "failover_source_age_seconds",
        kind: Kind::Gauge,
        help: "Age of the source's last good answer; absent while there was none.",
        values: Values::Source(|of, emit| {
            if let Some(age) = of.age {
                emit(&[], Value::Gauge(age.as_secs_f64()));
            }
        }),
    },
    Family {
        name: "failover_source_stale",
        kind: Kind::Gauge,
        help: "Whether the source's last answer was an error, so that an older answer is used: 1 or 0.",
        values: Values::Source(|of, emit| emit(&[], truth(of.stale))),
    },
    Family {
        name: "failover_series_left_out",
        kind: Kind::Gauge,
        help: "Services and endpoints without series of their own, because of the limits.",
        values: Values::All(|chosen, emit| {
            let (services, endpoints) = chosen.left_out;
            emit(&[("kind", "services")], Value::Gauge(services as f64));
            emit(&[("kind", "endpoints")], Value::Gauge(endpoints as f64));
        }),
    },
];

/// Returns the labels of a service, that of a part of it, and these. The query of a service is a label only
/// where there is one.
fn labels<'a>(
    of: &'a ServiceStats,
    part: Option<(&'static str, &'a str)>,
    more: &Labels<'a>,
) -> Vec<(&'static str, &'a str)> {
    let query = of.query.iter().map(|query| ("query", &**query));
    let service = std::iter::once(("service", of.service.as_str()));
    service.chain(query).chain(part).chain(more.iter().copied()).collect()
}

fn truth(is_so: bool) -> Value<'static> {
    Value::Gauge(f64::from(u8::from(is_so)))
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
