//! The provider against a real API server, and against one that misbehaves on command.
//!
//! The comments above the tests name the fault of the project's list that they cover (F, R, S).

#![allow(clippy::disallowed_methods, reason = "a real server takes real time")]

mod answers;
mod closing;
mod config;
mod conformance;
mod credentials;
mod deploy;
mod discovery;
mod freshness;
mod garbage;
mod harness;
mod kubeconfig;
mod leases;
mod lost_leases;
mod managers;
mod many;
mod measure;
mod outage;
mod ownership;
mod ports;
mod reaping;
mod recovery;
mod registration;
mod scripted;
mod security;
mod topology;
