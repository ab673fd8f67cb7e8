//! Retry budget settings.

use serde::{Deserialize, Deserializer, Serialize};

use crate::codec::document;
use crate::codec::document::{Document, Raw};
use crate::codec::range;
use crate::config::defaults;
use crate::error::Error;

/// A token bucket that successes fill and retries drain, so that retries do not add to an outage.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RetryBudgetConfig {
    enabled: bool,
    capacity: u32,
    retry_cost: u32,
    success_deposit: u32,
    max_ambiguous: f64,
}

impl RetryBudgetConfig {
    /// Returns a builder with the defaults.
    pub fn builder() -> RetryBudgetConfigBuilder {
        RetryBudgetConfigBuilder { draft: Self::default() }
    }

    /// Returns a builder with these values.
    pub fn to_builder(&self) -> RetryBudgetConfigBuilder {
        RetryBudgetConfigBuilder { draft: self.clone() }
    }

    /// Returns whether retries need tokens. Default: `true`.
    pub fn enabled(&self) -> bool {
        self.enabled
    }

    /// Returns the maximum and initial number of tokens, 1 to 1 000 000. Default: 500.
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Returns the tokens that a retry withdraws, 1 to 1000. Default: 5.
    pub fn retry_cost(&self) -> u32 {
        self.retry_cost
    }

    /// Returns the tokens that a success deposits, 1 to 1000. Default: 1.
    pub fn success_deposit(&self) -> u32 {
        self.success_deposit
    }

    /// Returns the share of ambiguous failures above which no retry follows one, 0 to 1. Default: 0.1.
    ///
    /// Timeouts and overload answers are ambiguous: retries after them add to an overload. The share
    /// is that of the last 50 attempts or so at endpoints in use. While answers take more than a fifth of
    /// an attempt's timeout on average, no retry follows either once more than one attempt of fifty has
    /// failed so at endpoints that had just answered. 1 disables both.
    pub fn max_ambiguous(&self) -> f64 {
        self.max_ambiguous
    }

    pub(super) fn from_raw(raw: Raw) -> Result<Self, Error> {
        let keys = &["enabled", "capacity", "retry_cost", "success_deposit", "max_ambiguous"];
        let mut fields = Document::open(raw, SECTION, "retry budget", keys)?;
        let mut builder = Self::builder();
        let draft = &mut builder.draft;
        if let Some(enabled) = fields.flag("enabled")? {
            draft.enabled = enabled;
        }
        if let Some(capacity) = fields.whole("capacity", &defaults::BUDGET_CAPACITY_RANGE)? {
            draft.capacity = capacity;
        }
        if let Some(cost) = fields.whole("retry_cost", &defaults::BUDGET_STEP_RANGE)? {
            draft.retry_cost = cost;
        }
        if let Some(deposit) = fields.whole("success_deposit", &defaults::BUDGET_STEP_RANGE)? {
            draft.success_deposit = deposit;
        }
        if let Some(share) = fields.number("max_ambiguous", &defaults::MAX_AMBIGUOUS_RANGE)? {
            draft.max_ambiguous = share;
        }
        builder.build()
    }
}

impl Default for RetryBudgetConfig {
    fn default() -> Self {
        Self {
            enabled: defaults::BUDGET_ENABLED,
            capacity: defaults::BUDGET_CAPACITY,
            retry_cost: defaults::RETRY_COST,
            success_deposit: defaults::SUCCESS_DEPOSIT,
            max_ambiguous: defaults::MAX_AMBIGUOUS,
        }
    }
}

impl<'de> Deserialize<'de> for RetryBudgetConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        document::deserialize(deserializer, Self::from_raw)
    }
}

/// Builds a [`RetryBudgetConfig`]. Values that are not set have their defaults.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct RetryBudgetConfigBuilder {
    draft: RetryBudgetConfig,
}

impl RetryBudgetConfigBuilder {
    /// Sets whether retries need tokens. Default: `true`.
    pub fn enabled(mut self, enabled: bool) -> Self {
        self.draft.enabled = enabled;
        self
    }

    /// Sets the maximum and initial number of tokens, 1 to 1 000 000. Default: 500.
    pub fn capacity(mut self, tokens: u32) -> Self {
        self.draft.capacity = tokens;
        self
    }

    /// Sets the tokens that a retry withdraws, 1 to 1000. Default: 5.
    pub fn retry_cost(mut self, tokens: u32) -> Self {
        self.draft.retry_cost = tokens;
        self
    }

    /// Sets the tokens that a success deposits, 1 to 1000. Default: 1.
    pub fn success_deposit(mut self, tokens: u32) -> Self {
        self.draft.success_deposit = tokens;
        self
    }

    /// Sets the share of ambiguous failures above which no retry follows one, 0 to 1. Default: 0.1. 1
    /// disables the limit, and the one for slow answers.
    ///
    /// A higher share lets retries hide more timeouts while part of the endpoints is down; a lower one
    /// ends an overload sooner.
    pub fn max_ambiguous(mut self, share: f64) -> Self {
        self.draft.max_ambiguous = share;
        self
    }

    /// Validates the values.
    pub fn build(self) -> Result<RetryBudgetConfig, Error> {
        let config = self.draft;
        let field = |name| document::path(SECTION, name);
        range::whole(&field("capacity"), config.capacity, &defaults::BUDGET_CAPACITY_RANGE)?;
        range::whole(&field("retry_cost"), config.retry_cost, &defaults::BUDGET_STEP_RANGE)?;
        range::whole(&field("success_deposit"), config.success_deposit, &defaults::BUDGET_STEP_RANGE)?;
        range::number(&field("max_ambiguous"), config.max_ambiguous, &defaults::MAX_AMBIGUOUS_RANGE)?;
        if config.retry_cost > config.capacity {
            let wanted = format!(
                "at most the capacity, {}; with a higher cost no retry is ever funded",
                config.capacity
            );
            return Err(Error::invalid(&field("retry_cost"), config.retry_cost, &wanted));
        }
        Ok(config)
    }
}

const SECTION: &str = "retry_budget";
