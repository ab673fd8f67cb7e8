//! An endpoint's report of its own load.

use crate::error::Error;

/// The load of an endpoint, as it reports it itself.
///
/// A report arrives in a header or trailer of the endpoint's replies, like ORCA reports, or out of
/// band.
///
/// The algorithm `reported_load` weights each endpoint by `requests / (utilization + errors /
/// requests)`: the work that it does per unit of its load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LoadReport {
    requests_per_second: f64,
    utilization: f64,
    errors_per_second: f64,
}

impl LoadReport {
    /// Creates a report from requests per second and utilization.
    ///
    /// A utilization of 1 is one whole unit of the scarcest resource.
    pub const fn new(requests_per_second: f64, utilization: f64) -> Self {
        Self { requests_per_second, utilization, errors_per_second: 0.0 }
    }

    /// Sets the failed requests per second. Default: none.
    #[must_use]
    pub const fn errors_per_second(mut self, errors_per_second: f64) -> Self {
        self.errors_per_second = errors_per_second;
        self
    }

    /// Returns the resulting weight, or `None` without requests or without utilization.
    ///
    /// # Errors
    ///
    /// Returns `Validation` for a value that is not a valid quantity.
    pub(crate) fn weight(&self) -> Result<Option<f32>, Error> {
        let fields = [
            ("requests_per_second", self.requests_per_second),
            ("utilization", self.utilization),
            ("errors_per_second", self.errors_per_second),
        ];
        for (name, value) in fields {
            if !value.is_finite() || value < 0.0 {
                return Err(Error::invalid(name, value, "a number of at least 0"));
            }
        }
        if self.requests_per_second == 0.0 || self.utilization == 0.0 {
            return Ok(None);
        }
        let errors = self.errors_per_second / self.requests_per_second;
        let weight = (self.requests_per_second / (self.utilization + errors)) as f32;
        Ok((weight > 0.0 && weight.is_finite()).then_some(weight))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weight_is_what_is_done_for_a_unit_of_load_and_errors_are_load() {
        let weight = |report: LoadReport| report.weight().expect("quantities");
        assert_eq!(weight(LoadReport::new(10.0, 1.0)), Some(10.0));
        assert_eq!(weight(LoadReport::new(10.0, 0.1)), Some(100.0));
        assert_eq!(weight(LoadReport::new(10.0, 0.5).errors_per_second(5.0)), Some(10.0));
        for nothing in [(0.0, 1.0), (10.0, 0.0), (f64::MIN_POSITIVE, f64::MAX), (f64::MAX, f64::MIN_POSITIVE)]
        {
            assert_eq!(weight(LoadReport::new(nothing.0, nothing.1)), None, "{nothing:?}");
        }
        for wrong in [f64::NAN, f64::INFINITY, -1.0] {
            for report in [
                LoadReport::new(wrong, 1.0),
                LoadReport::new(1.0, wrong),
                LoadReport::new(1.0, 1.0).errors_per_second(wrong),
            ] {
                report.weight().expect_err("no quantity");
            }
        }
    }
}
