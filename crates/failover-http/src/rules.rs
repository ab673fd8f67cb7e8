//! Classification of HTTP responses and of the errors of transports.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::Arc;

use failover_core::{Classified, Classify, Outcome};
use http::{HeaderMap, HeaderName, Method, Response, StatusCode};

use crate::retry_after::requested_pause;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// `EMFILE` and `ENFILE`: this process or this machine has no file descriptor left.
const NO_DESCRIPTORS: [i32; 2] = [24, 23];

/// Classifies HTTP replies: a response by its status and `Retry-After`, an error by what lies below it.
///
/// A status counts as [`Outcome::from_http_status`] says, unless [`with_status`](Self::with_status)
/// says otherwise. `Retry-After` counts for 429 and 503.
///
/// An error is classified by the first error in its chain that says something:
///
/// | I/O error | outcome |
/// |---|---|
/// | `ConnectionRefused` | not sent: there was no connection |
/// | `TimedOut` | timeout |
/// | `AddrNotAvailable`, no file descriptors | local: this machine is at its limit |
/// | any other error, such as `ConnectionReset` | failure: the request may have arrived |
///
/// [`with_errors`](Self::with_errors) adds what a transport knows about its own errors.
///
/// ```
/// use failover_core::Outcome;
/// use failover_http::HttpRules;
/// use http::{HeaderMap, Response, StatusCode};
///
/// let rules = HttpRules::new().with_status(StatusCode::CONFLICT, Outcome::Failure);
/// let reply = Response::builder().status(503).header("retry-after", "7").body(())?;
/// let pause = std::time::Duration::from_secs(7);
/// assert_eq!(rules.classify_response(&reply), Outcome::Overload(Some(pause)));
/// # Ok::<(), http::Error>(())
/// ```
///
/// Clones are cheap and share the settings.
#[derive(Clone, Debug, Default)]
pub struct HttpRules(Option<Arc<Settings>>);

#[derive(Clone, Default)]
struct Settings {
    statuses: Vec<(StatusCode, Outcome)>,
    methods: Vec<Method>,
    errors: Option<Arc<Recognise>>,
}

type Recognise = dyn Fn(&(dyn StdError + 'static)) -> Option<Outcome> + Send + Sync;

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("statuses", &self.statuses)
            .field("methods", &self.methods)
            .finish_non_exhaustive()
    }
}

impl HttpRules {
    /// Creates the usual rules.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets what a status counts as, such as 409 as a failure of one replica.
    ///
    /// `Overload(None)` takes the time to wait from the response's `Retry-After`.
    pub fn with_status(self, status: StatusCode, outcome: Outcome) -> Self {
        self.set(|settings| {
            settings.statuses.retain(|(known, _)| *known != status);
            settings.statuses.push((status, outcome));
        })
    }

    /// Adds a method whose requests are idempotent here.
    pub fn with_idempotent_method(self, method: Method) -> Self {
        self.set(|settings| settings.methods.push(method))
    }

    /// Sets a function that classifies the errors of a transport.
    ///
    /// It sees each error of the chain, outermost first, before the rules for I/O errors do, and
    /// returns `None` for an error that it does not know.
    pub fn with_errors(
        self,
        recognise: impl Fn(&(dyn StdError + 'static)) -> Option<Outcome> + Send + Sync + 'static,
    ) -> Self {
        self.set(|settings| settings.errors = Some(Arc::new(recognise)))
    }

    fn set(self, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = self.0.unwrap_or_default();
        change(Arc::make_mut(&mut settings));
        Self(Some(settings))
    }

    /// Returns whether a request may be repeated although it may have arrived.
    ///
    /// True for GET, HEAD, OPTIONS, TRACE, PUT and DELETE (RFC 9110, section 9.2.2), for the methods
    /// of [`with_idempotent_method`](Self::with_idempotent_method), and for a request whose
    /// `Idempotency-Key` is not empty.
    pub fn is_idempotent(&self, method: &Method, headers: &HeaderMap) -> bool {
        let usual = [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE, Method::PUT, Method::DELETE];
        usual.contains(method)
            || self.0.as_ref().is_some_and(|settings| settings.methods.contains(method))
            || headers.get(IDEMPOTENCY_KEY).is_some_and(|key| !key.as_bytes().trim_ascii().is_empty())
    }

    /// Classifies a response. The reason is its status, unless it is a success.
    pub fn classify_response<B>(&self, response: &Response<B>) -> Classified {
        self.classify_status(response.status(), response.headers())
    }

    /// Classifies a response by its status and headers.
    pub fn classify_status(&self, status: StatusCode, headers: &HeaderMap) -> Classified {
        let statuses = self.0.as_ref().map_or(&[][..], |settings| &settings.statuses);
        let outcome = match statuses.iter().find(|(known, _)| *known == status) {
            Some((_, outcome)) => *outcome,
            None => Outcome::from_http_status(status.as_u16(), None),
        };
        match outcome {
            Outcome::Success => Outcome::Success.into(),
            Outcome::Overload(None) => {
                Classified::new(Outcome::Overload(requested_pause(headers)), status.as_u16())
            }
            outcome => Classified::new(outcome, status.as_u16()),
        }
    }

    /// Classifies the error of a transport. The reason is its text with the texts of all its sources.
    pub fn classify_error(&self, error: &(dyn StdError + 'static)) -> Classified {
        let known = self.0.as_ref().and_then(|settings| settings.errors.as_deref());
        let said = causes(error).find_map(|error| {
            known.and_then(|recognise| recognise(error)).or_else(|| of_io(error.downcast_ref()?))
        });
        Classified::from_error(said.unwrap_or(Outcome::Failure), error)
    }
}

/// Returns an error and all that lies below it, outermost first.
///
/// Unlike a walk by [`source`](StdError::source), it does not skip what an [`io::Error`] wraps.
pub fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| below(*error))
}

/// The next error of a chain. An I/O error shows the source of what it wraps, and skips that itself.
fn below<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

fn of_io(error: &io::Error) -> Option<Outcome> {
    if error.raw_os_error().is_some_and(|code| cfg!(unix) && NO_DESCRIPTORS.contains(&code)) {
        return Some(Outcome::Local);
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Some(Outcome::NotSent),
        io::ErrorKind::TimedOut => Some(Outcome::Timeout),
        io::ErrorKind::AddrNotAvailable => Some(Outcome::Local),
        _ => None,
    }
}

impl<B, E: StdError + 'static> Classify<Response<B>, E> for HttpRules {
    fn classify(&self, reply: Result<&Response<B>, &E>) -> Classified {
        match reply {
            Ok(response) => self.classify_response(response),
            Err(error) => self.classify_error(error),
        }
    }
}

#[cfg(test)]
mod tests;
