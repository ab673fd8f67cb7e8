//! What an operator changes: who may, and what a form asks for.

use std::fmt;
use std::hint::black_box;
use std::time::Duration;

use failover_core::inspect::Forced;
use failover_core::{Error, ErrorKind, FailoverManager, Lifecycle};
use form_urlencoded::parse;

use crate::lookup::find;

/// The fewest bytes of a token: a shorter one can be guessed.
const SHORTEST: usize = 16;
/// The most minutes for which an endpoint is forced.
pub(crate) const LONGEST: u64 = 24 * 60;

/// The operations of the status page, and the token that allows them.
///
/// An operation is a `POST` with the token, in the form of the page or as `Authorization: Bearer`. There
/// is no cookie, so that a browser sends nothing by itself that would allow one; a request that a browser
/// marks as coming from another site is refused before its token is read. Tokens are compared in constant
/// time. Serve the page over TLS, or on loopback: the token travels with each operation.
#[derive(Clone)]
pub struct Operations {
    token: Box<[u8]>,
}

impl Operations {
    /// Allows operations with this token: 16 to 256 bytes.
    ///
    /// # Errors
    ///
    /// Returns `Validation` for a token of another length. The message does not contain it.
    pub fn with_token(token: impl Into<String>) -> Result<Self, Error> {
        let token = token.into();
        if !(SHORTEST..=256).contains(&token.len()) {
            let message = format!(
                "the token of the status page's operations has {} bytes; give one of {SHORTEST} to 256, such as 32 \
                 random hexadecimal digits",
                token.len()
            );
            return Err(Error::new(ErrorKind::Validation, message));
        }
        Ok(Self { token: token.into_bytes().into() })
    }

    /// Whether this is the token. The time depends on the length of the given one alone.
    pub(crate) fn allows(&self, given: &[u8]) -> bool {
        let mut difference = given.len() ^ self.token.len();
        for (index, byte) in given.iter().enumerate() {
            difference |= usize::from(byte ^ self.token[index % self.token.len()]);
        }
        black_box(difference) == 0
    }
}

impl fmt::Debug for Operations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operations").finish_non_exhaustive()
    }
}

/// What a form asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Operation {
    pub(crate) endpoint: String,
    pub(crate) query: Option<String>,
    action: String,
    minutes: Option<String>,
}

impl Operation {
    /// Reads a form, and the token in it.
    pub(crate) fn read(form: &[u8]) -> (Self, Option<String>) {
        let (mut operation, mut token) = (Self::default(), None);
        for (key, value) in parse(form) {
            match &*key {
                "token" => token = Some(value.into_owned()),
                "endpoint" => operation.endpoint = value.into_owned(),
                "query" if !value.is_empty() => operation.query = Some(value.into_owned()),
                "action" => operation.action = value.into_owned(),
                "minutes" if !value.is_empty() => operation.minutes = Some(value.into_owned()),
                _ => {}
            }
        }
        (operation, token)
    }

    /// Carries it out.
    pub(crate) async fn run(&self, manager: &FailoverManager, service: &str) -> Result<(), Error> {
        let Some(found) = find(manager, service, self.query.as_deref()) else {
            let message = format!("the manager does not keep a service {service}");
            return Err(Error::new(ErrorKind::NotFound, message));
        };
        if self.endpoint.is_empty() {
            return Err(invalid("choose an endpoint"));
        }
        let lifecycle = |lifecycle| manager.set_lifecycle((service, self.endpoint.as_str()), lifecycle);
        match self.action.as_str() {
            "out" => found.force(&self.endpoint, Forced::Out, self.time()?),
            "in" => found.force(&self.endpoint, Forced::In, self.time()?),
            "observe" => found.force(&self.endpoint, Forced::Observe, self.time()?),
            "end" => found.force(&self.endpoint, Forced::Observe, Duration::ZERO),
            "drain" => lifecycle(Lifecycle::Draining).await,
            "in_service" => lifecycle(Lifecycle::InService).await,
            other => {
                let message =
                    format!("there is no action {other:?}; give out, in, observe, end, drain or in_service");
                Err(invalid(message))
            }
        }
    }

    /// The name of the action, for the log.
    pub(crate) fn action(&self) -> &str {
        &self.action
    }

    fn time(&self) -> Result<Duration, Error> {
        let given = self.minutes.as_deref().unwrap_or("10");
        match given.parse::<u64>() {
            Ok(minutes @ 1..=LONGEST) => Ok(Duration::from_secs(minutes * 60)),
            _ => Err(invalid(format!("minutes is {given:?}; give a whole number from 1 to {LONGEST}"))),
        }
    }
}

fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Validation, message.into().into_owned())
}
