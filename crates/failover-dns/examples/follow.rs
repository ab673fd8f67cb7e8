//! Follows a service in DNS, and prints what calls see of each change.
//!
//! `cargo run -p failover-dns --example follow` starts a name server of its own, and changes its zone;
//! `… --example follow LINE` follows a line such as `dns://example.com:443` until Ctrl-C.

#[path = "../tests/dns/server.rs"]
mod server;

use std::error::Error;
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use server::{Mood, NameServer};
use tokio::time::sleep;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    if let Some(line) = std::env::args().nth(1) {
        let service = failover_dns::service(&line).await?;
        loop {
            println!("{}", service.explain());
            sleep(Duration::from_secs(2)).await;
        }
    }
    let server = NameServer::start().await;
    server.zone().address("user-service.test", "10.0.0.1");
    let line = format!("dns://{}/user-service.test:8080?protocol=http", server.address);
    let users = failover_dns::service(&line).await?;
    println!("{line}\n\nat first:\n{}", users.explain());
    // The records live for a second.
    let change = Duration::from_millis(1_300);
    server.zone().address("user-service.test", "10.0.0.2");
    sleep(change).await;
    println!("with another address:\n{}", users.explain());
    server.zone().mood = Mood::Says(ResponseCode::ServFail);
    sleep(change).await;
    println!("while the server fails:\n{}", users.explain());
    server.zone().mood = Mood::Answers;
    server.zone().remove("user-service.test");
    sleep(Duration::from_secs(2)).await;
    println!("when the name does not exist any more:\n{}", users.explain());
    Ok(())
}
