//! Classification of an HTTP client's replies.

use failover::{Classify, Outcome};

/// Classifies replies of clients that turn error statuses into errors, as `error_for_status` does:
/// the status decides whether the server failed, and a refused connection carried no request.
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
