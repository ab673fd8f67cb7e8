//! The provider against real agents, and against a server that misbehaves on command.

#![allow(clippy::disallowed_methods, reason = "real servers take real time")]

mod acl;
mod aging;
mod cluster;
mod conformance;
mod contract;
mod emptiness;
mod fake;
mod faults;
mod foreign;
mod grpc;
mod limits;
mod live;
mod lost_data;
mod many;
mod measure;
mod queries;
mod races;
mod reads;
mod registry;
mod store;
mod support;
