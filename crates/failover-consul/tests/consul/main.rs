//! The provider on real agents, and on a server that does what a real one won't do on command.

#![allow(clippy::disallowed_methods, reason = "real servers take real time")]

mod acl;
mod aging;
mod cluster;
mod conformance;
mod emptiness;
mod fake;
mod faults;
mod grpc;
mod live;
mod many;
mod measure;
mod races;
mod reads;
mod registry;
mod store;
mod support;
