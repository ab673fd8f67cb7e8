//! The code of `docs/pools.md`: one pool or connection for each endpoint, and connections that outlive a
//! call. The tests run it against real servers.

pub mod with_bb8;
pub mod with_deadpool;
pub mod with_redis;
pub mod with_sqlx;
pub mod with_tokio_postgres;
pub mod with_web_socket;

mod sqlstate;
#[cfg(test)]
mod tests;
