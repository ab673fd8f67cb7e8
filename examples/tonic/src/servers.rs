//! The servers that the example calls.

use std::error::Error;

use example_support::listen;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use crate::greeter::greeter_server::{Greeter, GreeterServer};
use crate::greeter::{HelloReply, HelloRequest};

struct Named(String);

#[tonic::async_trait]
impl Greeter for Named {
    async fn say_hello(&self, request: Request<HelloRequest>) -> Result<Response<HelloReply>, Status> {
        let message = format!("hello {}, says {}", request.into_inner().name, self.0);
        Ok(Response::new(HelloReply { message }))
    }
}

/// Runs the server process, which answers until the process that started it is gone.
#[tokio::main(flavor = "current_thread")]
pub(crate) async fn serve(name: &str) -> Result<(), Box<dyn Error>> {
    let greeter = GreeterServer::new(Named(name.to_owned()));
    let incoming = TcpListenerStream::new(listen().await?);
    Ok(tonic::transport::Server::builder().add_service(greeter).serve_with_incoming(incoming).await?)
}
