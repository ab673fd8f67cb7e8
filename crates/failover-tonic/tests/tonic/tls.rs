//! TLS by the endpoint's server name.

use failover_core::{Endpoint, ServiceHandle};
use failover_testkit::certificates::Authority;
use failover_tonic::FailoverChannel;
use tonic::transport::{Certificate, ClientTlsConfig, Identity, ServerTlsConfig};

use crate::greeter::GreeterClient;
use crate::server::Server;

fn server(authority: &Authority, name: &str) -> Server {
    let signed = authority.server(&[name]);
    Server::with_tls(Some(
        ServerTlsConfig::new().identity(Identity::from_pem(signed.certificate, signed.key)),
    ))
}

fn endpoint(id: &str, server: &Server, protocol: &str) -> Endpoint {
    let builder = Endpoint::builder(id, "users", "127.0.0.1", server.address().port());
    builder.protocol(protocol).server_name("users.internal").build().expect("valid")
}

fn client(
    authority: &Authority,
    endpoints: Vec<Endpoint>,
) -> (ServiceHandle, GreeterClient<FailoverChannel>) {
    let users = ServiceHandle::fixed("users", endpoints).expect("valid");
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authority.pem()));
    let builder = FailoverChannel::builder(users.clone());
    let channel = builder.with_tls(move |_, endpoint| endpoint.tls_config(tls.clone())).build();
    (users, GreeterClient::new(channel))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_endpoint_is_reached_at_its_address_and_verified_by_its_server_name() {
    let authority = Authority::new("the authority of this test");
    let mut servers = [server(&authority, "users.internal"), server(&authority, "users.internal")];
    // `tcp` is the protocol of an endpoint that names none.
    let endpoints = vec![endpoint("a", &servers[0], "grpcs"), endpoint("b", &servers[1], "tcp")];
    let (users, mut client) = client(&authority, endpoints);
    for _ in 0..4 {
        client.hello("ada".to_owned()).await.expect("verified");
    }
    assert_eq!((servers[0].requests(), servers[1].requests()), (2, 2));
    servers[0].kill();
    for _ in 0..4 {
        client.hello("ada".to_owned()).await.expect("the other one answers");
    }
    assert_eq!(users.stats().failed_requests, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_name_or_no_encryption_gets_no_call() {
    let authority = Authority::new("the authority of this test");
    let (other, plain) = (server(&authority, "orders.internal"), Server::start());
    for endpoint in [endpoint("a", &other, "https"), endpoint("a", &plain, "http")] {
        let (_, mut client) = client(&authority, vec![endpoint]);
        let error = client.hello("ada".to_owned()).await.expect_err("not the server that was meant");
        assert_eq!(error.code(), tonic::Code::Unavailable, "{error}");
        assert!(error.message().contains("not_sent"), "{}", error.message());
    }
    assert_eq!((other.requests(), plain.requests()), (0, 0));
}
