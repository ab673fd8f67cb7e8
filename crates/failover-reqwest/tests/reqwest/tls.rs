//! Endpoints that are listed by address, and whose certificates are for a name.

use failover_core::{Endpoint, ServiceHandle};
use failover_reqwest::{Client, Error};
use failover_testkit::certificates::Authority;
use failover_testkit::named_server;

use crate::support::provide_tls;

const NAME: &str = "users.internal";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_endpoint_is_called_at_its_address_by_the_name_of_its_certificate() {
    provide_tls();
    let authority = Authority::new("test");
    let root = reqwest::Certificate::from_pem(authority.pem().as_bytes()).expect("a certificate");
    let mut endpoints = Vec::new();
    for number in 0..2_u8 {
        let address = named_server(number, NAME, &authority).await;
        let builder =
            Endpoint::builder(number.to_string(), "users", address.ip().to_string(), address.port());
        endpoints.push(builder.protocol("https").server_name(NAME).build().expect("valid"));
    }
    let users = ServiceHandle::fixed("users", endpoints.clone()).expect("valid");
    let trusting = move || reqwest::Client::builder().tls_certs_only([root.clone()]);
    let client = Client::builder(users.clone()).with_reqwest(trusting).build().expect("a client");
    let mut answers = Vec::new();
    for _ in 0..2 {
        // Either scheme: the endpoint's protocol is what counts, and it encrypts.
        for url in ["https://users/x", "http://users/x"] {
            answers.push(client.get(url).send().await.expect("an answer").text().await.expect("a body"));
        }
    }
    for endpoint in &endpoints {
        let expected = format!("{} {NAME} {NAME}:{}", endpoint.id(), endpoint.port());
        assert_eq!(answers.iter().filter(|answer| **answer == expected).count(), 2, "{answers:?}");
    }
    let strange = Client::builder(users).with_reqwest(|| reqwest::Client::builder().tls_certs_only([]));
    let error = strange.build().expect("a client").post("https://users/x").send().await;
    let error = error.expect_err("nobody trusts the certificate");
    assert!(matches!(&error, Error::Call(call) if call.attempts().len() > 1), "not sent, so tried: {error}");
}
