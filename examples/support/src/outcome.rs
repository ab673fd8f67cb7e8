//! What the replies of an HTTP client say about the endpoint.

use failover::{Classify, Outcome};

/// For clients that turn error statuses into errors, as `error_for_status` does: the status says
/// whose fault it was, and a connection that was refused carried no request.
#[derive(Clone, Copy, Debug)]
pub struct HttpRules;

impl<T> Classify<T, reqwest::Error> for HttpRules {
    fn classify(&self, reply: Result<&T, &reqwest::Error>) -> Outcome {
        match reply {
            Ok(_) => Outcome::Success,
            Err(error) if error.is_connect() => Outcome::NotSent,
            Err(error) => {
                error.status().map_or(Outcome::Failure, |it| Outcome::from_http_status(it.as_u16(), None))
            }
        }
    }
}
