//! Conversions between the requests and responses of reqwest and those of the `http` crate.

use failover_tower::{ReplayBody, ResponseBody};
use http::response::Parts;
use reqwest::{Body, Request, Response, ResponseBuilderExt};

/// Returns the request of one attempt.
pub(crate) fn request(request: http::Request<ReplayBody<Body>>) -> Result<Request, reqwest::Error> {
    Request::try_from(request.map(Body::wrap))
}

/// Returns the response of one attempt, with the URL that it came from, which reqwest's own conversion would lose.
pub(crate) fn answer(response: Response) -> http::Response<Body> {
    let url = response.url().clone();
    let (Parts { status, version, headers, extensions, .. }, body) =
        http::Response::<Body>::from(response).into_parts();
    let mut builder = http::Response::builder().status(status).version(version);
    // In place of the builder's empty ones, before the URL goes among the extensions: none is moved to another map.
    if let Some(of_builder) = builder.headers_mut() {
        *of_builder = headers;
    }
    if let Some(of_builder) = builder.extensions_mut() {
        *of_builder = extensions;
    }
    builder.url(url).body(body).expect("a status and a URL that were valid")
}

/// Returns the response of a call.
pub(crate) fn response(response: http::Response<ResponseBody<Body>>) -> Response {
    Response::from(response.map(Body::wrap))
}
