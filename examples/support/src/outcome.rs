//! Classification of an HTTP client's replies.

use failover::{Classified, Classify, Outcome};

/// Classifies replies of clients that turn error statuses into errors, as `error_for_status` does:
/// the status decides whether the server failed, and a refused connection carried no request.
#[derive(Clone, Copy, Debug)]
pub struct HttpRules;

impl<T> Classify<T, reqwest::Error> for HttpRules {
    fn classify(&self, reply: Result<&T, &reqwest::Error>) -> Classified {
        match reply {
            Ok(_) => Outcome::Success.into(),
            Err(error) if error.is_connect() => Classified::from_error(Outcome::NotSent, error),
            Err(error) => match error.status() {
                Some(status) => Classified::from_http_status(status.as_u16(), None),
                None => Classified::from_error(Outcome::Failure, error),
            },
        }
    }
}
