//! Scenario files.

#[cfg(test)]
mod tests;

use std::path::Path;

use failover_core::{Error, ErrorKind, FailoverConfig};
use toml::{Table, Value};

use crate::Nanos;
use crate::fault::{Burst, Fault, FaultKind};
use crate::policy::Policy;
use crate::record::SECOND;
use crate::registry::Answer;
use crate::scenario::fields::{DAY, Fields, invalid, time};
use crate::scenario::{Load, Model, Scenario};
use crate::server::Queue;
use crate::service_time::ServiceTime;

/// More calls than this would take minutes and gigabytes.
const MOST_CALLS: f64 = 10_000_000.0;
const MOST_ENDPOINTS: u64 = 1_000;
/// Times within a call.
const HOUR: Nanos = 3_600 * SECOND;

/// A scenario file: what is simulated, under which policies, and from how many seeds.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ScenarioFile {
    /// What is simulated.
    pub scenario: Scenario,
    /// The policies, in order; the engine's three algorithms unless the file says otherwise.
    pub policies: Vec<Policy>,
    /// The number of seeds; 5 unless the file says otherwise.
    pub seeds: u64,
}

impl ScenarioFile {
    /// Reads a file. Files of service times are looked for beside it.
    ///
    /// # Errors
    ///
    /// `Validation` for a file that is missing, or is no TOML, and for the first field that is unknown or invalid, with
    /// the field, its value and what would be right.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let beside = path.parent().unwrap_or(Path::new(""));
        let text = contents(path)?;
        Self::parse(&text, &|name| contents(&beside.join(name)))
    }

    /// Reads a text. `read` returns the contents of a file of service times.
    ///
    /// # Errors
    ///
    /// See [`read`](Self::read).
    pub fn parse(text: &str, read: &dyn Fn(&str) -> Result<String, Error>) -> Result<Self, Error> {
        let table: Table = text.parse().map_err(|error: toml::de::Error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or(text);
            let line = before.lines().count().max(1);
            Error::new(ErrorKind::Validation, format!("line {line} is no TOML: {}", error.message()))
        })?;
        let mut fields = Fields::new("", table);
        let name = fields.text("name")?;
        let name = fields.required("name", name, "a name for the scenario")?;
        let duration = fields.time("duration", 2 * SECOND..=DAY)?;
        let duration = fields.required("duration", duration, "a time such as \"2m\"")? / SECOND * SECOND;
        let endpoints = endpoints(&mut fields, read)?;
        let bursts = bursts(&mut fields, duration)?;
        let load = load(&mut fields, duration, &bursts)?;
        let mut scenario = Scenario::new(&name, duration, endpoints, load);
        scenario.bursts = bursts;
        scenario.clients = fields.whole("clients", 1..=10_000)?.unwrap_or(1) as usize;
        scenario.idempotent = fields.number("idempotent", 0.0..=1.0)?.unwrap_or(1.0);
        scenario.faults = faults(&mut fields, &scenario)?;
        for mut stall in fields.tables("stalls")? {
            let at = stall.time("at", 0..=duration)?;
            let at = stall.required("at", at, "the time at which the process stops")?;
            let length = stall.time("length", 1_000_000..=HOUR)?;
            let length = stall.required("length", length, "how long it is stopped")?;
            stall.finish()?;
            scenario.stalls.push((at, length));
        }
        scenario.registry = registry(&mut fields, &scenario)?;
        if let Some(config) = fields.take("config") {
            scenario.config = config_of(&scenario.config, config)?;
        }
        let policies = policies(&mut fields)?;
        let seeds = fields.whole("seeds", 1..=1_000)?.unwrap_or(5);
        fields.finish()?;
        Ok(Self { scenario, policies, seeds })
    }
}

fn contents(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path)
        .map_err(|error| Error::new(ErrorKind::Validation, format!("{}: {error}", path.display())))
}

fn endpoints(fields: &mut Fields, read: &dyn Fn(&str) -> Result<String, Error>) -> Result<Vec<Model>, Error> {
    let mut models: Vec<Model> = Vec::new();
    for mut group in fields.tables("endpoints")? {
        let count = group.whole("count", 1..=MOST_ENDPOINTS)?.unwrap_or(1);
        let workers = group.whole("workers", 1..=1_000_000)?.map_or(usize::MAX, |workers| workers as usize);
        let bound = group.whole("bound", 0..=1_000_000)?;
        let queue = match (group.text("queue")?.as_deref(), bound) {
            (None | Some("fifo"), None) => Queue::Fifo,
            (Some("drops"), None) => Queue::DropAbandoned,
            (Some("refuses"), Some(bound)) => Queue::Bounded(bound as usize),
            (Some("refuses"), None) => {
                return Err(Error::invalid(&group.path("bound"), "no value", "how many requests may wait"));
            }
            (None | Some("fifo" | "drops"), Some(bound)) => {
                return Err(Error::invalid(&group.path("bound"), bound, "it with queue = \"refuses\" only"));
            }
            (Some(other), _) => {
                return Err(Error::invalid(&group.path("queue"), other, "one of fifo, drops, refuses"));
            }
        };
        let priority = group.whole("priority", 0..=100)?.unwrap_or(0) as u32;
        let zone = group.text("zone")?;
        let service = group.table("service")?;
        let service = group.required("service", service, "a table such as { exponential = \"10ms\" }")?;
        let service = service_time(service, read)?;
        group.finish()?;
        models.extend(vec![Model { service, workers, queue, priority, zone }; count as usize]);
    }
    if models.is_empty() || models.len() as u64 > MOST_ENDPOINTS {
        let wanted = format!("1 to {MOST_ENDPOINTS} in all, each group under [[endpoints]]");
        return Err(Error::invalid("endpoints", models.len(), &wanted));
    }
    if let Some(at) = (1..models.len()).find(|at| models[*at].priority < models[at - 1].priority) {
        let wanted = "the groups in the order of their priorities, 0 first";
        return Err(Error::invalid("endpoints.priority", models[at].priority, wanted));
    }
    Ok(models)
}

fn service_time(
    mut fields: Fields,
    read: &dyn Fn(&str) -> Result<String, Error>,
) -> Result<ServiceTime, Error> {
    let range = 1_000..=HOUR;
    let constant = fields.time("constant", range.clone())?;
    let exponential = fields.time("exponential", range.clone())?;
    let uniform = fields.take("uniform");
    let percentiles = fields.text("percentiles")?;
    let path = fields.path("uniform");
    let itself = fields.path("");
    fields.finish()?;
    match (constant, exponential, uniform, percentiles) {
        (Some(time), None, None, None) => Ok(ServiceTime::Constant(time)),
        (None, Some(mean), None, None) => Ok(ServiceTime::Exponential(mean)),
        (None, None, Some(Value::Array(ends)), None) if ends.len() == 2 => {
            let low = time(&path, &ends[0], &range)?;
            Ok(ServiceTime::Uniform(low, time(&path, &ends[1], &(low..=HOUR))?))
        }
        (None, None, Some(other), None) => Err(invalid(&path, &other, "two times, the shorter one first")),
        (None, None, None, Some(file)) => ServiceTime::percentiles(&file, &read(&file)?),
        _ => Err(Error::invalid(
            itself.trim_end_matches('.'),
            "none or several of them",
            "one of constant, uniform, exponential, percentiles",
        )),
    }
}

fn load(fields: &mut Fields, duration: Nanos, bursts: &[Burst]) -> Result<Load, Error> {
    let table = fields.table("load")?;
    let mut table = fields.required("load", table, "a table with rate, or with callers and think")?;
    let seconds = duration as f64 / SECOND as f64;
    let rate = table.number("rate", 0.001..=1e9)?;
    let callers = table.whole("callers", 1..=100_000)?;
    let think = table.time("think", 1_000_000..=HOUR)?;
    let load = match (rate, callers, think) {
        (Some(rate), None, None) => {
            let largest: f64 = bursts.iter().map(|burst| burst.factor.max(1.0)).product();
            let most = MOST_CALLS / seconds / largest;
            if rate > most {
                let wanted =
                    format!("at most {most:.1} a second, which are 10 million calls in this duration");
                return Err(Error::invalid(&table.path("rate"), rate, &wanted));
            }
            Load::Open(rate)
        }
        (None, Some(callers), think) => {
            let think = think.unwrap_or(1_000_000);
            let calls = callers as f64 * duration as f64 / think as f64;
            if calls > MOST_CALLS * 10.0 {
                let most = (MOST_CALLS * 10.0 * think as f64 / duration as f64) as u64;
                let wanted = format!("at most {most} for this duration, or a longer think");
                return Err(Error::invalid(&table.path("callers"), callers, &wanted));
            }
            Load::Closed { callers: callers as usize, think }
        }
        _ => return Err(Error::invalid("load", "none or both of them", "rate, or callers and think")),
    };
    table.finish()?;
    Ok(load)
}

fn bursts(fields: &mut Fields, duration: Nanos) -> Result<Vec<Burst>, Error> {
    let mut bursts = Vec::new();
    for mut burst in fields.tables("bursts")? {
        let (from, until) = span(&mut burst, duration)?;
        let factor = burst.number("factor", 0.01..=1_000.0)?;
        let factor = burst.required("factor", factor, "a factor on the rate of calls")?;
        burst.finish()?;
        bursts.push(Burst { from, until, factor });
    }
    Ok(bursts)
}

/// From a time until another, or until the end.
fn span(fields: &mut Fields, duration: Nanos) -> Result<(Nanos, Nanos), Error> {
    let from = fields.time("from", 0..=duration)?;
    let from = fields.required("from", from, "the time at which it begins")?;
    let until = fields.time("until", from + 1..=DAY)?;
    Ok((from, until.unwrap_or(Nanos::MAX)))
}

fn faults(fields: &mut Fields, scenario: &Scenario) -> Result<Vec<Fault>, Error> {
    let mut faults = Vec::new();
    for mut fault in fields.tables("faults")? {
        let (from, until) = span(&mut fault, scenario.duration)?;
        let factor = fault.number("factor", 0.01..=100_000.0)?;
        let after = fault.time("retry_after", SECOND..=HOUR)?;
        let kind = fault.text("kind")?;
        let kind = fault.required("kind", kind, KINDS)?;
        let kind = match (kind.as_str(), factor, after) {
            ("refuse", None, None) => FaultKind::Refuse,
            ("reset", None, None) => FaultKind::Reset,
            ("black_hole", None, None) => FaultKind::BlackHole,
            ("error", None, None) => FaultKind::Error,
            ("overload", None, after) => FaultKind::Overload(after),
            ("slow", Some(factor), None) => FaultKind::Slow(factor),
            ("slow", None, None) => {
                return Err(Error::invalid(&fault.path("factor"), "no value", "how much slower it is"));
            }
            (kind @ ("refuse" | "reset" | "black_hole" | "error" | "overload" | "slow"), ..) => {
                let wanted = "factor with slow, retry_after with overload, and neither with the others";
                return Err(Error::invalid(&fault.path("kind"), kind, wanted));
            }
            (other, ..) => return Err(Error::invalid(&fault.path("kind"), other, KINDS)),
        };
        let endpoints = affected(&mut fault, &scenario.endpoints)?;
        let share = fault.number("share", 0.000_001..=1.0)?.unwrap_or(1.0);
        let period = fault.time("period", 10_000_000..=DAY)?;
        fault.finish()?;
        faults.push(Fault { kind, endpoints, from, until, share, period });
    }
    Ok(faults)
}

const KINDS: &str = "one of refuse, reset, black_hole, error, overload, slow";

/// Endpoints by their indices, or by their zone; all where neither is given.
fn affected(fault: &mut Fields, models: &[Model]) -> Result<Vec<usize>, Error> {
    let indices = fault.take("endpoints");
    let path = fault.path("endpoints");
    let zone = fault.text("zone")?;
    match (indices, zone) {
        (None, None) => Ok((0..models.len()).collect()),
        (None, Some(zone)) => {
            let fits = |index: &usize| models[*index].zone.as_deref() == Some(&zone);
            let found: Vec<_> = (0..models.len()).filter(fits).collect();
            if found.is_empty() {
                return Err(Error::invalid(&fault.path("zone"), zone, "the zone of some endpoint"));
            }
            Ok(found)
        }
        (Some(Value::Array(list)), None) if !list.is_empty() => list
            .iter()
            .map(|value| {
                let index = value.as_integer().and_then(|index| usize::try_from(index).ok());
                let index = index.filter(|index| *index < models.len());
                let wanted = format!("whole numbers from 0 to {}", models.len() - 1);
                index.ok_or_else(|| invalid(&path, value, &wanted))
            })
            .collect(),
        (Some(other), _) => Err(invalid(&path, &other, "a list of numbers of endpoints, without zone")),
    }
}

/// What a registry answers from some times on, in their order.
fn registry(fields: &mut Fields, scenario: &Scenario) -> Result<Vec<(Nanos, Answer)>, Error> {
    let mut answers: Vec<(Nanos, Answer)> = Vec::new();
    for mut table in fields.tables("registry")? {
        let earliest = answers.last().map_or(1, |(at, _)| *at);
        let at = table.time("at", earliest..=scenario.duration)?;
        let at = table.required("at", at, "the time from which the registry answers so")?;
        let answer = table.text("answer")?;
        let answer = table.required("answer", answer, "one of lists, empty, down")?;
        let answer = match answer.as_str() {
            "lists" => Answer::Lists(affected(&mut table, &scenario.endpoints)?),
            "empty" => Answer::Empty,
            "down" => Answer::Down,
            other => return Err(Error::invalid(&table.path("answer"), other, "one of lists, empty, down")),
        };
        table.finish()?;
        answers.push((at, answer));
    }
    Ok(answers)
}

/// The engine's configuration, over the one that scenarios have otherwise.
fn config_of(base: &FailoverConfig, value: Value) -> Result<FailoverConfig, Error> {
    let Value::Table(mut table) = value else {
        return Err(invalid("config", &value, "a table under [config]"));
    };
    for (key, time) in [("timeout", base.timeout()), ("attempt_timeout", base.attempt_timeout())] {
        table.entry(key).or_insert_with(|| Value::String(format!("{}ms", time.as_millis())));
    }
    let config: Result<FailoverConfig, _> = table.try_into();
    config.map_err(|error| Error::new(ErrorKind::Validation, format!("config: {}", error.message())))
}

fn policies(fields: &mut Fields) -> Result<Vec<Policy>, Error> {
    let names = match fields.take("policies") {
        None => return Ok(vec![Policy::Default, Policy::LeastConnections, Policy::HealthBased]),
        Some(Value::Array(names)) if (1..=16).contains(&names.len()) => names,
        Some(other) => return Err(invalid("policies", &other, "a list of 1 to 16 names")),
    };
    names.iter().map(|name| Policy::parse("policies", name.as_str().unwrap_or_default())).collect()
}
