//! Conversions between the requests and responses of reqwest and those of the `http` crate.

use std::net::SocketAddr;

use failover_tower::{ReplayBody, ResponseBody};
use http::Uri;
use http::response::Parts;
use reqwest::{Body, Request, Response, ResponseBuilderExt, Url};

/// Returns the request of one attempt. The URL is the one of the call's request.
pub(crate) fn request(
    request: http::Request<ReplayBody<Body>>,
    url: &Url,
) -> Result<Request, reqwest::Error> {
    // Extensions can hold a timeout of reqwest's own, and nothing but its conversion takes them.
    let known = if request.extensions().is_empty() { at_address(url, request.uri()) } else { None };
    let Some(url) = known else { return Request::try_from(request.map(Body::wrap)) };
    let (parts, body) = request.into_parts();
    let mut request = Request::new(parts.method, url);
    *request.version_mut() = parts.version;
    *request.headers_mut() = parts.headers;
    *request.body_mut() = Some(Body::wrap(body));
    Ok(request)
}

/// Returns the URL of a call at the IP address and port of an attempt's URI, for a third of the cost of
/// parsing all of it. `None` if the URI has a host name.
fn at_address(url: &Url, uri: &Uri) -> Option<Url> {
    let address: SocketAddr = uri.authority()?.as_str().parse().ok()?;
    let mut url = url.clone();
    if url.scheme() != uri.scheme_str()? {
        url.set_scheme(uri.scheme_str()?).ok()?;
    }
    url.set_ip_host(address.ip()).ok()?;
    url.set_port(Some(address.port())).ok()?;
    url.set_fragment(None);
    Some(url)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_at_an_address_is_the_one_that_parsing_gives() {
        let targets = [
            "http://users",
            "https://users/a/../b/%7e/c%20d?full=1&a=%27#fragment",
            "http://users/?",
            "http://users?a=b/c",
            "http://users//x;y/\u{e4}?\u{e4}",
            "http://Users:8080/x",
        ];
        for target in targets {
            for (scheme, authority) in [
                ("http", "10.0.0.1:8080"),
                ("http", "10.0.0.1:80"),
                ("http", "10.0.0.1:443"),
                ("https", "10.0.0.1:443"),
                ("https", "[::1]:80"),
                ("http", "[::ffff:10.0.0.1]:8080"),
            ] {
                let url = Url::parse(target).expect("valid");
                let target: Uri = url.as_str().parse().expect("valid");
                let path = target.path_and_query().expect("there is one").clone();
                let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query(path).build();
                let uri = uri.expect("valid");
                let parsed = Url::parse(&uri.to_string()).expect("valid");
                assert_eq!(at_address(&url, &uri), Some(parsed), "{url} at {uri}");
            }
        }
        let url = Url::parse("http://users/x").expect("valid");
        for name in ["http://users.internal:80/x", "http://localhost/x", "http://10.0.0.1/x"] {
            assert_eq!(at_address(&url, &name.parse().expect("valid")), None, "{name}");
        }
    }
}
