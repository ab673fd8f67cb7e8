//! Three real servers, a process each: this program again, as `example-tower serve NAME`.

use std::error::Error;

use axum::Router;
use axum::routing::{get, post};
use example_support::listen;

/// Runs the server process, which answers until the process that started it is gone.
#[tokio::main(flavor = "current_thread")]
pub(crate) async fn serve(name: &str) -> Result<(), Box<dyn Error>> {
    let name = name.to_owned();
    let user = move || async move { format!("user 7, says {name}") };
    let create = async |body: String| format!("created {body}");
    let routes = Router::new().route("/users/{id}", get(user)).route("/users", post(create));
    Ok(axum::serve(listen().await?, routes).await?)
}
