//! Which values of a configuration were given, and where they come from. Both are no part of the
//! configuration: two that differ only in them are equal.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// The top-level fields that were given, in code or in a document.
#[derive(Clone, Debug, Default)]
pub(super) struct Given(Vec<&'static str>);

impl Given {
    pub(super) fn mark(&mut self, field: &'static str) {
        if !self.contains(field) {
            self.0.push(field);
        }
    }

    pub(super) fn contains(&self, field: &str) -> bool {
        self.0.contains(&field)
    }
}

impl PartialEq for Given {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

/// Where the values come from, by full field name.
#[derive(Clone, Default)]
pub(super) struct Origins(Option<Arc<BTreeMap<String, Arc<str>>>>);

impl Origins {
    pub(super) fn new(origins: BTreeMap<String, Arc<str>>) -> Self {
        Self(Some(Arc::new(origins)))
    }

    pub(super) fn get(&self, field: &str) -> Option<&str> {
        self.0.as_deref()?.get(field).map(|origin| &**origin)
    }
}

impl PartialEq for Origins {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl fmt::Debug for Origins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Origins")
    }
}
