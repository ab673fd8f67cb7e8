//! A provider of `failover` that keeps its endpoints in Consul.

mod activity;
mod address;
mod agent;
mod client;
mod config;
mod convert;
mod emptiness;
mod env;
mod error;
mod follow;
mod hub;
mod keeper;
mod leader;
mod pace;
mod provider;
mod registry;
mod secret;
mod store;
mod tls;
mod wire;

pub use activity::Activity;
pub use config::{Consistency, ConsulBuilder};
pub use provider::ConsulProvider;
