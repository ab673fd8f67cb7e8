//! Serves the pages with axum.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{OriginalUri, Request, State};
use axum::http::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE, HOST, LOCATION, ORIGIN};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::response::Response;
use failover_core::{ErrorKind, FailoverManager, WeakManager};

use crate::html::Frame;
use crate::operations::{Operation, Operations};
use crate::page::{HEADERS, Page};
use crate::render::page;
use crate::route::View;

/// The largest form of an operation.
const LARGEST_FORM: usize = 16 * 1024;

/// Returns a router with the status pages of the manager, to be nested at any path.
///
/// Nested at `/failover`, the overview is at `/failover`; axum's `nest_service` also serves it at
/// `/failover/`.
///
/// It only reads: `GET` and `HEAD`. The router does not keep the manager; after its last clone was
/// dropped, every page has the status 503. For a router with a state, call `with_state(())`.
///
/// Everyone who can reach the pages sees the names and addresses of endpoints and the errors of calls: serve
/// them where metrics are served, not to the public.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let manager = failover_core::FailoverManager::builder().build().await?;
/// use axum::Router;
///
/// let app: Router = Router::new().nest("/failover", failover_status::router(&manager));
/// # Ok(()) }
/// ```
pub fn router(manager: &FailoverManager) -> Router {
    routes(manager, None)
}

/// Returns a router like [`router`], with the operations that a token allows.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let manager = failover_core::FailoverManager::builder().build().await?;
/// use failover_status::Operations;
///
/// # let token = "0123456789abcdef0123456789abcdef";
/// let pages = failover_status::router_with_operations(&manager, Operations::with_token(token)?);
/// # Ok(()) }
/// ```
pub fn router_with_operations(manager: &FailoverManager, operations: Operations) -> Router {
    routes(manager, Some(operations))
}

#[derive(Debug)]
struct Served {
    manager: WeakManager,
    operations: Option<Operations>,
}

fn routes(manager: &FailoverManager, operations: Option<Operations>) -> Router {
    let served = Arc::new(Served { manager: manager.downgrade(), operations });
    // One handler for all paths, so that an unknown one below the mount point has the same answer.
    Router::new().fallback(answer).with_state(served)
}

async fn answer(
    State(served): State<Arc<Served>>,
    OriginalUri(original): OriginalUri,
    request: Request,
) -> Response {
    let base = base(original.path(), request.uri().path());
    // A nested router does not get the address with a slash at its end.
    let home = if base == "/" { "/" } else { base.trim_end_matches('/') };
    let frame = Frame { base: &base, home, refresh: 0 };
    let problem = |status: StatusCode, message: &str| {
        let title = status.canonical_reason().unwrap_or("Error");
        response(Page::html(status.as_u16(), frame.problem(title, message)))
    };
    let Some(manager) = served.manager.upgrade() else {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "The failover manager is gone.");
    };
    let operated = operated_service(request.uri()).filter(|_| served.operations.is_some()).map(str::to_owned);
    match (request.method(), operated, &served.operations) {
        (&Method::POST, Some(service), Some(operations)) => {
            match operate(&manager, operations, &service, request).await {
                Ok(view) => see_other(&format!("{base}{}", view.link(&format!("service/{service}")))),
                Err((status, message)) => problem(status, &message),
            }
        }
        (&Method::GET | &Method::HEAD, None, operations) => {
            let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
            response(page(&manager, path, (&base, home), operations.is_some()))
        }
        (_, operated, _) => {
            let allowed = if operated.is_some() { "POST" } else { "GET, HEAD" };
            let message = format!("This address accepts {allowed}.");
            let mut answer = problem(StatusCode::METHOD_NOT_ALLOWED, &message);
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
            answer
        }
    }
}

/// Returns what links are relative to: the path that the router is nested at, and a slash.
fn base(original: &str, below: &str) -> String {
    let prefix = original.strip_suffix(below).unwrap_or(original).trim_end_matches('/');
    // An address that begins with two slashes names another host.
    format!("/{}/", prefix.trim_start_matches('/')).replacen("//", "/", 1)
}

/// The service that a path operates on.
fn operated_service(uri: &Uri) -> Option<&str> {
    let name = uri.path().strip_prefix("/service/")?.strip_suffix("/operate")?;
    (!name.is_empty() && !name.contains('/')).then_some(name)
}

async fn operate(
    manager: &FailoverManager,
    operations: &Operations,
    service: &str,
    request: Request,
) -> Result<View, (StatusCode, String)> {
    let refused = |message: &str| Err((StatusCode::FORBIDDEN, message.to_owned()));
    if is_cross_site(request.headers()) {
        tracing::warn!(target: "failover::status", service, "operation refused: the request comes from another site");
        return refused("The request comes from another site.");
    }
    let bearer =
        request.headers().get(AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    let bearer = bearer.map(<[u8]>::to_vec);
    let Ok(form) = to_bytes(request.into_body(), LARGEST_FORM).await else {
        let message = format!("The form could not be read, or has more than {LARGEST_FORM} bytes.");
        return Err((StatusCode::PAYLOAD_TOO_LARGE, message));
    };
    let (operation, token) = Operation::read(&form);
    let given = bearer.or(token.map(String::into_bytes));
    if !given.is_some_and(|given| operations.allows(&given)) {
        tracing::warn!(target: "failover::status", service, "operation refused: no token, or a wrong one");
        return refused("The token is missing or wrong.");
    }
    let (endpoint, action) = (operation.endpoint.as_str(), operation.action());
    match operation.run(manager, service).await {
        Ok(()) => {
            tracing::info!(target: "failover::status", service, endpoint, action, "operation applied");
            Ok(View { query: operation.query, ..View::of("") })
        }
        Err(error) => {
            let status = match error.kind() {
                ErrorKind::NotFound => StatusCode::NOT_FOUND,
                ErrorKind::Validation => StatusCode::BAD_REQUEST,
                ErrorKind::Unsupported => StatusCode::NOT_IMPLEMENTED,
                _ => StatusCode::BAD_GATEWAY,
            };
            Err((status, error.to_string()))
        }
    }
}

/// Whether a browser says that another site made the request. Other programs send neither header.
fn is_cross_site(headers: &HeaderMap) -> bool {
    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let fetched = text(HeaderName::from_static("sec-fetch-site"));
    if fetched.is_some_and(|site| !["same-origin", "none"].contains(&site)) {
        return true;
    }
    let host = text(HOST).unwrap_or_default();
    let is_own =
        |origin: &str| origin.split_once("://").is_some_and(|(_, own)| own.eq_ignore_ascii_case(host));
    // Behind a proxy that changes `Host`, `Sec-Fetch-Site` is the better witness.
    fetched.is_none() && text(ORIGIN).is_some_and(|origin| !is_own(origin))
}

fn response(page: Page) -> Response {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::from_u16(page.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(page.content_type()));
    for (name, value) in HEADERS {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    *answer.body_mut() = Body::from(page.into_body());
    answer
}

fn see_other(to: &str) -> Response {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::SEE_OTHER;
    if let Ok(to) = HeaderValue::from_str(to) {
        answer.headers_mut().insert(LOCATION, to);
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_stay_below_the_mount_point_and_on_this_host() {
        for (original, below, expected) in [
            ("/", "/", "/"),
            ("/service/users", "/service/users", "/"),
            ("/failover", "/", "/failover/"),
            ("/failover/", "/", "/failover/"),
            ("/a/b/service/users", "/service/users", "/a/b/"),
            ("//evil.example/service/users", "/service/users", "/evil.example/"),
        ] {
            assert_eq!(base(original, below), expected, "{original}");
        }
    }

    #[test]
    fn a_browser_that_names_another_site_is_cross_site_and_other_programs_are_not() {
        for (headers, is_cross) in [
            (&[][..], false),
            (&[("host", "a:1"), ("origin", "http://a:1")], false),
            (&[("host", "a:1"), ("origin", "http://b")], true),
            (&[("host", "a:1"), ("origin", "null")], true),
            (&[("sec-fetch-site", "same-origin"), ("origin", "https://proxy")], false),
            (&[("sec-fetch-site", "none")], false),
            (&[("sec-fetch-site", "same-site")], true),
            (&[("host", "a"), ("sec-fetch-site", "cross-site"), ("origin", "http://a")], true),
        ] {
            let map = headers
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
            assert_eq!(is_cross_site(&map.collect()), is_cross, "{headers:?}");
        }
    }
}
