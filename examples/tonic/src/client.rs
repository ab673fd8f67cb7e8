//! The clients: one with failover's channel, and one with tonic's own balancer. The first function is
//! all that a program needs.

use std::error::Error;
use std::time::Duration;

use example_support::Server;
use failover::tonic::FailoverChannel;
use failover::{Endpoint, FailoverConfig, ServiceHandle};
use tonic::body::Body;
use tonic::client::GrpcService;
use tonic::codegen::{Body as HttpBody, Bytes, StdError};
use tonic::transport::{self, Channel};

use crate::greeter::HelloRequest;
use crate::greeter::greeter_client::GreeterClient;

pub(crate) fn client(users: &ServiceHandle) -> GreeterClient<FailoverChannel> {
    GreeterClient::new(FailoverChannel::new(users.clone()))
}

/// The service: here a list, elsewhere `manager.service("user-service")`.
pub(crate) fn service(servers: &[Server]) -> Result<ServiceHandle, Box<dyn Error>> {
    let endpoints = servers.iter().map(|server| {
        Endpoint::builder(server.name(), "user-service", "127.0.0.1", server.port()).protocol("grpc").build()
    });
    let users = ServiceHandle::builder("user-service")
        .endpoints(endpoints.collect::<Result<Vec<_>, _>>()?)
        .config(FailoverConfig::builder().attempt_timeout(Duration::from_millis(500)).build()?)
        .build()?;
    Ok(users)
}

/// tonic's own: one attempt for each call, which gets as much time as ours gets for two attempts.
pub(crate) fn balanced(servers: &[Server]) -> Result<GreeterClient<Channel>, Box<dyn Error>> {
    let endpoint = |server: &Server| {
        let endpoint = transport::Endpoint::from_shared(format!("http://127.0.0.1:{}", server.port()))?;
        Ok::<_, transport::Error>(endpoint.timeout(Duration::from_secs(1)))
    };
    let endpoints = servers.iter().map(endpoint).collect::<Result<Vec<_>, _>>()?;
    Ok(GreeterClient::new(Channel::balance_list(endpoints.into_iter())))
}

/// Makes one call.
pub(crate) async fn greet<T>(mut client: GreeterClient<T>) -> Result<(), String>
where
    T: GrpcService<Body, Error: Into<StdError>>,
    T::ResponseBody: HttpBody<Data = Bytes, Error: Into<StdError> + Send> + Send + 'static,
{
    let reply = client.say_hello(HelloRequest { name: "ada".to_owned() }).await;
    let reply = reply.map_err(|status| format!("{:?}: {}", status.code(), status.message()))?;
    if reply.into_inner().message.starts_with("hello ada") {
        Ok(())
    } else {
        Err("another greeting".to_owned())
    }
}
