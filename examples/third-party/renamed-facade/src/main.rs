//! Calls a server over TCP with the facade under its name on the registry.

use failover::ServiceHandle;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let (nobody, here) = ("http://127.0.0.1:1".to_owned(), format!("http://{}", listener.local_addr()?));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"hello").await;
        }
    });
    let users = ServiceHandle::fixed("users", [nobody, here])?;
    for _ in 0..2 {
        let done = users
            .execute(async |endpoint| {
                let mut text = String::new();
                TcpStream::connect(endpoint.authority()).await?.read_to_string(&mut text).await?;
                Ok::<_, std::io::Error>(text)
            })
            .await?;
        assert_eq!(done.value, "hello");
        println!("{} from {} in {} attempts", done.value, done.endpoint.id(), done.attempts.len());
    }
    Ok(())
}
