//! Tests of the facade.

mod identity;
mod tls_by_name;
