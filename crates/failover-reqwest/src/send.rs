//! Conversions between the requests and responses of reqwest and those of the `http` crate.

use failover_tower::{ReplayBody, ResponseBody};
use http::response::Parts;
use reqwest::{Body, Request, Response, ResponseBuilderExt, Url};

/// The URL that a response came from, which its conversion would lose.
#[derive(Clone)]
struct CameFrom(Url);

/// Returns the request of one attempt.
pub(crate) fn request(request: http::Request<ReplayBody<Body>>) -> Result<Request, reqwest::Error> {
    Request::try_from(request.map(Body::wrap))
}

/// Returns the response of one attempt.
pub(crate) fn answer(response: Response) -> http::Response<Body> {
    let from = CameFrom(response.url().clone());
    let mut response = http::Response::<Body>::from(response);
    response.extensions_mut().insert(from);
    response
}

/// Returns the response of a call.
pub(crate) fn response(response: http::Response<ResponseBody<Body>>) -> Response {
    let (Parts { status, version, headers, mut extensions, .. }, body) = response.into_parts();
    let mut builder = http::Response::builder();
    if let Some(CameFrom(url)) = extensions.remove::<CameFrom>() {
        builder = builder.url(url);
    }
    let mut response = builder.body(Body::wrap(body)).expect("a status and a URL that were valid");
    *response.status_mut() = status;
    *response.version_mut() = version;
    *response.headers_mut() = headers;
    response.extensions_mut().extend(extensions);
    Response::from(response)
}
