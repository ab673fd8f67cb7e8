//! SQLSTATE rules for reads, which may be repeated.

use failover::Outcome;

/// The outcome of a query by its SQLSTATE; none means that the connection failed.
pub(crate) fn outcome(code: Option<&str>) -> Outcome {
    match code.and_then(|code| code.get(..2)) {
        Some("53") => Outcome::Overload(None),
        Some("08" | "57" | "58" | "XX") | None => Outcome::Failure,
        Some(_) => Outcome::Rejected, // a syntax error, a constraint, no such table: the caller's own
    }
}
