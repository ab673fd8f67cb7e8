//! Services and clients of the tests.

use std::time::Duration;

use failover_core::{FailoverConfig, ServiceHandle};
use failover_tower::ReplayBody;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

pub(crate) type Bytes = bytes::Bytes;

pub(crate) fn service(urls: impl IntoIterator<Item = String>) -> ServiceHandle {
    let config = FailoverConfig::builder().attempt_timeout(Duration::from_millis(400)).build();
    ServiceHandle::builder("users").endpoints(urls).config(config.expect("valid")).build().expect("valid")
}

pub(crate) fn client<B>() -> Client<HttpConnector, ReplayBody<B>>
where
    B: http_body::Body + Send + 'static,
    B::Error: Into<failover_tower::BoxError>,
{
    Client::builder(TokioExecutor::new()).build_http()
}

pub(crate) fn get(path: &str) -> http::Request<Full<Bytes>> {
    http::Request::get(format!("http://users{path}")).body(Full::default()).expect("valid")
}

pub(crate) async fn text<B>(response: http::Response<B>) -> String
where
    B: http_body::Body,
    B::Error: std::fmt::Debug,
{
    let bytes = response.into_body().collect().await.expect("a whole body").to_bytes();
    String::from_utf8(bytes.to_vec()).expect("text")
}
