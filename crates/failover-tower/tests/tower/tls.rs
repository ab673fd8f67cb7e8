//! Endpoints that are listed by address, whose certificates are for a name, below a plain client.

use std::convert::Infallible;
use std::sync::Arc;

use failover_core::{AttemptClass, Endpoint, ServiceHandle};
use failover_testkit::certificates::Authority;
use failover_testkit::named_server;
use failover_tower::{Connector, EndpointConnector, EndpointServices, FailoverLayer, ReplayBody};
use http::Request;
use http_body_util::Full;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tower::util::BoxCloneService;
use tower::{Layer, ServiceExt};

use crate::support::{Bytes, get, text};

const NAME: &str = "users.internal";

/// Returns the settings of a client that trusts these authorities.
fn trusting(authorities: &[&Authority]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        let certificate = CertificateDer::from_pem_slice(authority.pem().as_bytes()).expect("a certificate");
        roots.add(certificate).expect("an authority");
    }
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

type Response = http::Response<failover_tower::ResponseBody<hyper::body::Incoming>>;
type Tower = BoxCloneService<Request<Full<Bytes>>, Response, failover_tower::FailoverError>;

/// Makes a client with a TLS connector for each endpoint.
fn tower(users: &ServiceHandle, tls: ClientConfig) -> Tower {
    let make = tower::service_fn(move |endpoint: Arc<Endpoint>| {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        let https = HttpsConnectorBuilder::new().with_tls_config(tls.clone()).https_or_http().enable_http1();
        let connector = Connector::new(https.wrap_connector(EndpointConnector::new(tcp, endpoint)));
        let client = Client::builder(TokioExecutor::new()).build::<_, ReplayBody<Full<Bytes>>>(connector);
        std::future::ready(Ok::<_, Infallible>(client))
    });
    BoxCloneService::new(
        FailoverLayer::new(users.clone()).per_endpoint().layer(EndpointServices::new(users, make)),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_endpoint_is_called_at_its_address_by_the_name_of_its_certificate() {
    let (ours, other) = (Authority::new("ours"), Authority::new("another"));
    let mut endpoints = Vec::new();
    // The third has a certificate of an authority that nobody trusts, and the fourth one for another name.
    for (number, name, authority) in
        [(0, NAME, &ours), (1, NAME, &ours), (2, NAME, &other), (3, "orders.internal", &ours)]
    {
        let address = named_server(number, name, authority).await;
        let builder =
            Endpoint::builder(number.to_string(), "users", address.ip().to_string(), address.port());
        endpoints.push(builder.protocol("https").server_name(NAME).build().expect("valid"));
    }
    let users = ServiceHandle::fixed("users", endpoints.clone()).expect("valid");
    let tower = tower(&users, trusting(&[&ours]));
    for _ in 0..8 {
        // What could not be agreed on was not sent: a POST may go elsewhere.
        let post = Request::post("http://users/x").body(Full::default()).expect("valid");
        let shown = text(tower.clone().oneshot(post).await.expect("one of the two")).await;
        let (number, asked) = shown.split_once(' ').expect("two words");
        let number: usize = number.parse().expect("a number");
        assert!(number < 2, "{shown}");
        assert_eq!(asked, format!("{NAME} {NAME}:{}", endpoints[number].port()));
    }
    let stats = users.stats();
    let failed = |id: &str| {
        stats
            .endpoints
            .iter()
            .find(|of| of.id.as_str() == id)
            .expect("there")
            .by_class
            .of(AttemptClass::NotSent)
    };
    assert!(failed("2") > 0 && failed("3") > 0 && failed("0") + failed("1") == 0, "{stats:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_nobody_trusts_ends_a_call_with_the_cause() {
    let authority = Authority::new("test");
    let address = named_server(0, NAME, &authority).await;
    let endpoint =
        Endpoint::builder("a", "users", address.ip().to_string(), address.port()).protocol("https");
    let users =
        ServiceHandle::fixed("users", [endpoint.server_name(NAME).build().expect("valid")]).expect("valid");
    let error = tower(&users, trusting(&[])).oneshot(get("/x")).await.expect_err("nobody trusts it");
    let mut causes = Vec::new();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        causes.push(error.to_string());
        cause = error.source();
    }
    assert!(causes.iter().any(|cause| cause.contains("UnknownIssuer")), "{error}: {causes:?}");
}
