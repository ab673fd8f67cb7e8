//! Writes the Prometheus text format.

use std::fmt::Write;

use failover_core::FailoverManager;
use failover_core::inspect::{Durations, ServiceStats};

use crate::families::{Family, Kind, Labels, Sink, Value, visit};
use crate::limits::Limits;

/// The content type of what [`render`] returns, for the response's header.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Returns the metrics of all services that the manager keeps, in the Prometheus text format.
///
/// Reads the counters that the engine has anyhow, so that nothing is written while calls are made. The
/// series of an endpoint that has left are gone with the next scrape; those of the service go on
/// counting its attempts. Cost: about 3 µs per endpoint. The number of series is bounded: see
/// [`Limits`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use failover_core::FailoverManager;
/// # use failover_memory::MemoryProvider;
/// let manager = FailoverManager::builder().provider(MemoryProvider::new()).build().await?;
/// let users = manager.service("users").await?;
/// let text = failover_metrics::render(&manager);
/// assert!(text.contains("failover_calls_total{service=\"users\",outcome=\"success\"} 0\n"));
/// # Ok(()) }
/// ```
pub fn render(manager: &FailoverManager) -> String {
    render_stats(&manager.stats(), Limits::new())
}

/// Returns metrics like [`render`], within other limits than the default ones, and of statistics that
/// need no manager: those of a [`ServiceHandle::fixed`](failover_core::ServiceHandle::fixed), or of
/// several managers together.
///
/// If several statistics have the same service and query, the first ones count, and the others are left
/// out.
///
/// ```
/// use failover_core::ServiceHandle;
/// use failover_metrics::Limits;
///
/// let users = ServiceHandle::fixed("users", ["10.0.0.1:80", "10.0.0.2:80"])?;
/// let text = failover_metrics::render_stats(&[users.stats()], Limits::new().endpoints(1));
/// assert!(text.contains("failover_series_left_out{kind=\"endpoints\"} 1\n"));
/// # Ok::<(), failover_core::Error>(())
/// ```
pub fn render_stats(stats: &[ServiceStats], limits: Limits) -> String {
    let mut text = Text(String::with_capacity(16 * 1024));
    visit(&limits.choose(stats), &mut text);
    text.0
}

struct Text(String);

impl Sink for Text {
    fn family(&mut self, family: &Family) {
        let Family { name, kind, help, .. } = family;
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        self.put(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    fn value(&mut self, family: &Family, labels: &Labels<'_>, value: Value<'_>) {
        match value {
            Value::Count(value) => {
                self.series(family.name, "", labels, "");
                self.put(format_args!(" {value}\n"));
            }
            Value::Gauge(value) => {
                self.series(family.name, "", labels, "");
                self.put(format_args!(" {value}\n"));
            }
            Value::Durations(value) => self.durations(family.name, labels, value),
        }
    }
}

impl Text {
    fn durations(&mut self, name: &str, labels: &Labels<'_>, value: &Durations) {
        for bucket in value.buckets() {
            self.series(name, "_bucket", labels, &bucket.at_most.as_secs_f64().to_string());
            self.put(format_args!(" {}\n", bucket.count));
        }
        self.series(name, "_bucket", labels, "+Inf");
        self.put(format_args!(" {}\n", value.count()));
        self.series(name, "_sum", labels, "");
        self.put(format_args!(" {}\n", value.sum().as_secs_f64()));
        self.series(name, "_count", labels, "");
        self.put(format_args!(" {}\n", value.count()));
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = self.0.write_fmt(text);
    }

    /// Writes the name and the labels of a series, with the label `le` unless it is empty.
    fn series(&mut self, name: &str, suffix: &str, labels: &Labels<'_>, le: &str) {
        self.0.push_str(name);
        self.0.push_str(suffix);
        let le = (!le.is_empty()).then_some(("le", le));
        for (number, (label, value)) in labels.iter().copied().chain(le).enumerate() {
            self.0.push(if number == 0 { '{' } else { ',' });
            self.0.push_str(label);
            self.0.push_str("=\"");
            escape(value, &mut self.0);
            self.0.push('"');
        }
        self.0.push('}');
    }
}

/// Escapes the value of a label. No other character needs it.
fn escape(value: &str, into: &mut String) {
    for character in value.chars() {
        match character {
            '\\' => into.push_str("\\\\"),
            '"' => into.push_str("\\\""),
            '\n' => into.push_str("\\n"),
            other => into.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_can_hold_any_text() {
        let mut text = Text(String::new());
        text.series("m", "", &[("a", "x\\y\"z\n}"), ("b", "\ré")], "");
        assert_eq!(text.0, "m{a=\"x\\\\y\\\"z\\n}\",b=\"\ré\"}");
    }
}
