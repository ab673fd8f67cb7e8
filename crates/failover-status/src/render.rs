//! Renders a page of a manager.

use failover_core::FailoverManager;
use serde_json::json;

use crate::html::Frame;
use crate::lookup::find;
use crate::page::Page;
use crate::route::{Route, View};
use crate::{json, overview, service};

/// Renders the page at a path of the manager's status, without any effect on the manager.
///
/// The path is the one below the mount point, with its query: see the [crate](crate) for the pages. A
/// path without a page, a service that the manager does not keep, or does not keep any more, is a page
/// with the status 404. The page's links are relative; a page for `/` must be served under an address
/// that ends with a slash.
///
/// Cost: about 1 ms, and 5 µs per endpoint of the service. A page has at most 100 endpoints.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use failover_core::FailoverManager;
/// # use failover_memory::MemoryProvider;
/// let manager = FailoverManager::builder().provider(MemoryProvider::new()).build().await?;
/// let users = manager.service("users").await?;
/// let page = failover_status::render(&manager, "/service/users?show=out");
/// assert_eq!((page.status(), page.content_type()), (200, "text/html; charset=utf-8"));
/// assert_eq!(failover_status::render(&manager, "/service/orders").status(), 404);
/// # Ok(()) }
/// ```
pub fn render(manager: &FailoverManager, path: &str) -> Page {
    let place = path.split('?').next().unwrap_or_default();
    let depth = place.strip_prefix('/').unwrap_or(place).matches('/').count();
    let base = if depth == 0 { "./".to_owned() } else { "../".repeat(depth.min(8)) };
    page(manager, path, (&base, "./"), false)
}

/// Renders a page whose links are relative to `base`; that to the overview is `home`.
pub(crate) fn page(
    manager: &FailoverManager,
    path: &str,
    (base, home): (&str, &str),
    with_operations: bool,
) -> Page {
    let (place, parameters) = path.split_once('?').unwrap_or((path, ""));
    let view = View::of(parameters);
    let frame = Frame { base, home, refresh: view.refresh };
    let named = |name: &str| find(manager, name, view.query.as_deref());
    let missing = |name: &str| {
        format!("The manager does not keep a service {name}: no handle of it is in use, or no longer.")
    };
    match Route::of(place) {
        Route::Overview => Page::html(200, frame.page("Services", &overview::content(manager, &view, home))),
        Route::OverviewJson => Page::json(200, &json::overview(manager, &view)),
        Route::Service(name) => match named(name) {
            Some(found) => {
                Page::html(200, frame.page(name, &service::content(&found, &view, home, with_operations)))
            }
            None => Page::html(404, frame.problem("No such service", &missing(name))),
        },
        Route::ServiceJson(name) => match named(name) {
            Some(found) => Page::json(200, &json::service(&found, &view)),
            None => Page::json(404, &json!({"error": missing(name)})),
        },
        Route::Unknown => Page::html(404, frame.problem("No such page", "There is no page at this address.")),
    }
}
