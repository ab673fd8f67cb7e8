//! Starts a provider in a program in which rustls has two providers of cryptography and no default:
//! there is no panic, and an error that states the cause, because there is no server.

use failover::k8s::KubernetesProvider;
use failover::provider::Provider;
use failover::{ErrorKind, FailoverManager};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    assert!(rustls::crypto::CryptoProvider::get_default().is_none(), "no default is installed yet");
    let token = std::env::temp_dir().join("stranger-token");
    std::fs::write(&token, "a-token")?;
    let build = || {
        let builder = KubernetesProvider::builder().api_server("https://127.0.0.1:1", Vec::new(), &token);
        builder.namespace("default").build()
    };
    let provider = build().await?;
    let error = provider.connect().await.expect_err("there is no server");
    assert_eq!(error.kind(), ErrorKind::Connection, "{error}");
    println!("no panic, and: {error}");
    // A program's use of it, as in the README.
    let manager = FailoverManager::builder().provider(build().await?).build().await?;
    let users = manager.service("user-service").await?;
    println!("{}", users.select().map(drop).expect_err("no endpoint is known"));
    manager.close().await?;
    std::fs::remove_file(token)?;
    Ok(())
}
