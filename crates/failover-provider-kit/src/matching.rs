//! Filtering an answer by a query.

use failover_core::provider::{EndpointSet, Query};

/// Returns the entries of `set` that match `query`, with the rejected entries of `set`.
///
/// For registries that cannot filter by every part of a query. A set whose entries all match is
/// returned unchanged. An empty result is confirmed: the registry listed endpoints, none of which
/// matches.
pub fn matching(set: EndpointSet, query: &Query) -> EndpointSet {
    if set.entries().iter().all(|entry| query.matches(entry.endpoint())) {
        return set;
    }
    let rejected: Vec<_> =
        set.rejected().iter().map(|entry| (entry.what().to_owned(), entry.error().clone())).collect();
    let entries = set.into_entries().into_iter().filter(|entry| query.matches(entry.endpoint()));
    let mut matching = EndpointSet::new(entries.collect::<Vec<_>>()).confirmed();
    for (what, error) in rejected {
        matching.reject(what, error);
    }
    matching
}

#[cfg(test)]
mod tests {
    use failover_core::provider::EndpointEntry;
    use failover_core::{Endpoint, Error, ErrorKind};

    use super::*;

    fn entry(id: &str, tag: &str) -> EndpointEntry {
        Endpoint::builder(id, "users", "10.0.0.1", 80).tag(tag).build().expect("valid").into()
    }

    #[test]
    fn what_does_not_match_is_left_out_and_rejected_entries_stay() {
        let mut set = EndpointSet::new([entry("a", "blue"), entry("b", "green")]);
        set.reject("c", Error::new(ErrorKind::Validation, "broken"));
        let all = matching(set.clone(), &Query::all());
        assert_eq!((all.entries().len(), all.is_confirmed()), (2, set.is_confirmed()));
        let blue = matching(set.clone(), &Query::all().tag("blue"));
        let ids: Vec<_> = blue.entries().iter().map(|entry| entry.endpoint().id().as_str()).collect();
        assert_eq!((ids, blue.rejected().len()), (vec!["a"], 1));
        let red = matching(set, &Query::all().tag("red"));
        assert!(red.entries().is_empty() && red.is_confirmed());
    }
}
