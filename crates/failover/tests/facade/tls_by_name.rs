//! Endpoints that a registry lists by address, and whose certificates are for a name.

use failover::{Endpoint, PerEndpoint, ServiceHandle};
use failover_testkit::certificates::Authority;
use failover_testkit::named_server;

const NAME: &str = "users.internal";

#[tokio::test]
async fn each_endpoint_is_called_at_its_address_by_the_name_of_its_certificate() {
    // The error is another call's, which installed it before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let authority = Authority::new("test");
    let root = reqwest::Certificate::from_pem(authority.pem().as_bytes()).expect("a certificate");
    let trusting = || reqwest::Client::builder().tls_certs_only([root.clone()]).no_proxy();

    let mut endpoints = Vec::new();
    for number in 0..2_u8 {
        let address = named_server(number, NAME, &authority).await;
        let builder =
            Endpoint::builder(number.to_string(), "users", address.ip().to_string(), address.port());
        endpoints.push(builder.protocol("https").server_name(NAME).build().expect("valid"));
    }
    let users = ServiceHandle::fixed("users", endpoints.clone()).expect("valid");

    let plain = trusting().build().expect("builds");
    let by_address = users
        .execute(async |endpoint| plain.get(endpoint.url("/")).send().await?.text().await)
        .await
        .expect_err("the certificate is not for an address");
    let last: &dyn std::error::Error = by_address.last_error().expect("the last attempt's");
    let causes: Vec<_> = std::iter::successors(Some(last), |error| error.source()).collect();
    assert!(format!("{causes:?}").contains("NotValidForName"), "{causes:?}");

    let clients = PerEndpoint::new(&users);
    for endpoint in &endpoints {
        let to = endpoint.connect_to();
        let client = clients
            .get_or_try_init(endpoint, || async {
                let addresses: Vec<_> = tokio::net::lookup_host(to.address()).await?.collect();
                trusting().resolve_to_addrs(to.name(), &addresses).build().map_err(std::io::Error::other)
            })
            .await
            .expect("builds");
        let answer = client.get(to.url("/users/7")).send().await.expect("answers").text().await;
        let expected = format!("{} {NAME} {NAME}:{}", endpoint.id(), endpoint.port());
        assert_eq!(answer.expect("a body"), expected);
    }
}
