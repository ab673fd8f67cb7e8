//! Checks that a configuration has all parts that its strategy requires.

use crate::config::{FailoverConfig, StrategyKind};
use crate::error::{Error, ErrorKind};

/// Checks that a configuration has all parts that its strategy requires.
pub(crate) fn supported(config: &FailoverConfig) -> Result<(), Error> {
    let (asked, lacks) = match config.strategy() {
        StrategyKind::Geographic if config.locality().is_none() => {
            ("strategy geographic", "needs `locality.zone`, where this process runs")
        }
        StrategyKind::Custom if config.custom().is_none() => {
            ("strategy custom", "needs a `Strategy`, set with `custom_strategy` in code")
        }
        _ => return Ok(()),
    };
    let message = format!("{asked} {lacks}");
    Err(Error::new(ErrorKind::Validation, message).with_code("INVALID_STRATEGY").with_detail("asked", asked))
}
