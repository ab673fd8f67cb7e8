//! Redirects: to the same server they are followed, elsewhere they are an error.

use std::fmt;

use reqwest::Url;
use reqwest::redirect::Policy;

/// As many as reqwest follows.
const MAX_REDIRECTS: usize = 10;

/// An endpoint redirects to another server, which is not an endpoint of the service.
///
/// Followed, the request would leave the service with its headers, and no breaker or retry would know.
#[derive(Clone, Debug)]
pub struct RedirectElsewhere {
    host: String,
}

impl RedirectElsewhere {
    /// Returns the host and port that the endpoint redirects to.
    pub fn host(&self) -> &str {
        &self.host
    }
}

impl fmt::Display for RedirectElsewhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the endpoint redirects to {}, which is another server; send a request of your own there",
            self.host
        )
    }
}

impl std::error::Error for RedirectElsewhere {}

/// Returns the redirect policy of the small client, for the client below a middleware: redirects to the
/// same scheme, host and port are followed, up to 10, and any other is a [`RedirectElsewhere`].
pub fn redirect_policy() -> Policy {
    Policy::custom(|attempt| {
        let is_here = attempt.previous().last().is_some_and(|before| origin(before) == origin(attempt.url()));
        if !is_here {
            let host = host(attempt.url());
            return attempt.error(RedirectElsewhere { host });
        }
        if attempt.previous().len() > MAX_REDIRECTS {
            return attempt.error("more than 10 redirects");
        }
        attempt.follow()
    })
}

fn origin(url: &Url) -> (&str, Option<&str>, Option<u16>) {
    (url.scheme(), url.host_str(), url.port_or_known_default())
}

/// Without the path and query, which may hold secrets.
fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}
