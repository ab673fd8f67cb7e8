//! Follows a file, and prints what calls see of each change.
//!
//! `cargo run -p failover-file --example follow` writes a file of its own, changes it, breaks it and mends
//! it; `… --example follow PATH SERVICE` follows a file of yours until Ctrl-C.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use failover_core::{FailoverManager, ServiceHandle};
use failover_file::FileProvider;
use tokio::time::sleep;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [path, service] = &arguments[..] {
        let (_manager, users) = follow(Path::new(path), service).await?;
        loop {
            println!("{}", users.explain());
            sleep(Duration::from_secs(2)).await;
        }
    }
    let directory = std::env::temp_dir().join(format!("failover-follow-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    let path = directory.join("services.toml");
    let one = "[services]\nuser-service = [\"http://10.0.0.1:8080\"]\n";
    let two = "[services]\nuser-service = [\"http://10.0.0.1:8080\", \"http://10.0.0.2:8080\"]\n";
    std::fs::write(&path, one)?;
    let (_manager, users) = follow(&path, "user-service").await?;
    println!("at first:\n{}", users.explain());
    for (what, text) in [
        ("with another endpoint", two),
        ("broken", "[services]\nuser-service = [\"http://10.0.0.1:8080\",\n"),
        ("mended", one),
    ] {
        std::fs::write(&path, text)?;
        sleep(Duration::from_millis(300)).await;
        println!("{what}:\n{}", users.explain());
    }
    std::fs::remove_dir_all(directory)?;
    Ok(())
}

/// Discovery ends with the manager, which a program keeps as long as it runs.
async fn follow(path: &Path, service: &str) -> Result<(FailoverManager, ServiceHandle), Box<dyn Error>> {
    let manager = FailoverManager::builder().provider(FileProvider::new(path)?).build().await?;
    let service = manager.service(service).await?;
    Ok((manager, service))
}
