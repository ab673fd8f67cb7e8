//! Why a request has no complete answer: the address that was tried, the cause, and what would help.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::time::Duration;

use failover_core::{Error, ErrorKind, codes};
use rustls::{AlertDescription as Alert, CertificateError as Of};

use super::protocol::HttpProtocol;

/// Why an [`HttpClient`](crate::HttpClient) or a [`Dialer`](crate::Dialer) has no complete answer.
///
/// Its text names the address, the cause, and the option that would help, if there is one:
/// `connecting to http://127.0.0.1:8500: Connection refused (os error 111)`. It contains no header,
/// body or query. [`into_error`](Self::into_error) turns it into the error of a provider.
#[derive(Clone)]
pub struct HttpError(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: HttpErrorKind,
    address: String,
    cause: String,
    hint: Option<String>,
    is_refused: bool,
    /// The error of the caller's own rule for addresses.
    own: Option<Error>,
}

/// The kind of an [`HttpError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HttpErrorKind {
    /// The request cannot be sent to anybody: it has no absolute URL, or asks for `https` without
    /// TLS settings.
    BadRequest,
    /// The host name cannot be resolved, or resolves to no address.
    Unresolved,
    /// The caller's rule refuses every address of the host.
    AddressRefused,
    /// No address accepted a connection. Nothing was sent.
    NotConnected,
    /// TLS could not be agreed on, or a certificate is not trusted.
    Tls,
    /// The answer was not there in time. The request may have been carried out.
    TimedOut,
    /// The connection broke, or the server does not speak the protocol. The request may have been
    /// carried out.
    ConnectionLost,
    /// The body is not encoded as its headers say.
    BadBody,
    /// The body is larger than the limit after decompression.
    TooLarge,
}

impl HttpError {
    pub(super) fn new(kind: HttpErrorKind, cause: impl Into<String>) -> Self {
        let cause = cause.into();
        Self(Box::new(Inner {
            kind,
            address: String::new(),
            cause,
            hint: None,
            is_refused: false,
            own: None,
        }))
    }

    pub(super) fn timed_out(limit: Duration) -> Self {
        Self::new(HttpErrorKind::TimedOut, format!("not done within {limit:?}"))
    }

    pub(super) fn at(mut self, address: &str) -> Self {
        address.clone_into(&mut self.0.address);
        self
    }

    pub(super) fn because(mut self, cause: impl FnOnce(&str) -> String) -> Self {
        self.0.cause = cause(&self.0.cause);
        self
    }

    pub(super) fn hinting(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    pub(super) fn refused(mut self, refused: bool) -> Self {
        self.0.is_refused = refused;
        self
    }

    pub(super) fn of_policy(own: Error) -> Self {
        let mut error = Self::new(HttpErrorKind::AddressRefused, own.to_string());
        error.0.own = Some(own);
        error
    }

    /// Returns the kind.
    pub fn kind(&self) -> HttpErrorKind {
        self.0.kind
    }

    /// Returns the address that was tried: scheme, host and port for a request, host and port for a
    /// connection.
    pub fn address(&self) -> &str {
        &self.0.address
    }

    /// Returns the cause alone, without the address and the hint.
    pub fn cause(&self) -> &str {
        &self.0.cause
    }

    /// Returns what would help, if that is known.
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// Returns whether the host itself refused the connection, so that
    /// [`Reconnect`](crate::Reconnect) can wait for its return.
    pub fn is_refused(&self) -> bool {
        self.0.is_refused
    }

    /// Turns it into the error of the operation `what`, with the kind and code that the provider
    /// contract has for the cause.
    pub fn into_error(self, what: impl fmt::Display) -> Error {
        let (kind, code) = match self.0.kind {
            HttpErrorKind::BadRequest => {
                return Error::new(ErrorKind::Validation, format!("{what}: {self}"));
            }
            HttpErrorKind::Unresolved | HttpErrorKind::NotConnected => {
                (ErrorKind::Connection, codes::CONNECTION_ERROR)
            }
            HttpErrorKind::AddressRefused => {
                let own = self.0.own.as_ref();
                (own.map_or(ErrorKind::Permission, Error::kind), own.map_or(codes::REFUSED, Error::code))
            }
            HttpErrorKind::Tls => (ErrorKind::Connection, codes::TLS_ERROR),
            HttpErrorKind::TimedOut => (ErrorKind::Timeout, codes::TIMEOUT),
            HttpErrorKind::ConnectionLost => (ErrorKind::Connection, codes::CONNECTION_LOST),
            HttpErrorKind::BadBody => (ErrorKind::Connection, codes::BAD_ANSWER),
            HttpErrorKind::TooLarge => (ErrorKind::Validation, codes::TOO_LARGE),
        };
        Error::new(kind, format!("{what}: {self}")).with_code(code)
    }
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { kind, address, cause, hint, .. } = &*self.0;
        let doing = match kind {
            HttpErrorKind::BadRequest => return f.write_str(cause),
            HttpErrorKind::Unresolved
            | HttpErrorKind::AddressRefused
            | HttpErrorKind::NotConnected
            | HttpErrorKind::Tls => "connecting to",
            _ => "request to",
        };
        write!(f, "{doing} {address}: {cause}")?;
        hint.as_ref().map_or(Ok(()), |hint| write!(f, "; {hint}"))
    }
}

impl fmt::Debug for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({self})", self.0.kind)
    }
}

impl StdError for HttpError {}

/// An option that errors name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HttpOption {
    /// The option that adds a trusted authority.
    Authority,
    /// The option that sets the client's certificate.
    ClientCertificate,
    /// The option that limits the size of a body.
    MaxBodyBytes,
}

/// The names that the caller's own builder has for the options.
#[derive(Clone, Copy, Debug)]
pub(super) struct OptionNames(pub(super) [&'static str; 3]);

impl OptionNames {
    pub(super) const KIT: Self =
        Self(["TlsBuilder::ca_file", "TlsBuilder::client_certificate", "HttpClientBuilder::max_body_bytes"]);

    pub(super) fn name(&self, option: HttpOption) -> &'static str {
        self.0[option as usize]
    }
}

/// Describes a failed request by the deepest of its causes.
pub(super) fn of_transport(
    error: &(dyn StdError + 'static),
    is_https: bool,
    protocol: HttpProtocol,
    names: &OptionNames,
    kind: HttpErrorKind,
) -> HttpError {
    let (mut cause, mut is_canceled, mut speaks_h2) = (error, false, false);
    loop {
        if let Some(http) = cause.downcast_ref::<hyper::Error>() {
            is_canceled |= http.is_canceled();
            speaks_h2 |= http.is_parse_version_h2();
        }
        if let Some(own) = cause.downcast_ref::<HttpError>() {
            return own.clone();
        }
        if let Some(tls) = cause.downcast_ref() {
            return of_tls(tls, names);
        }
        // An I/O error does not list the error that it wraps among its sources.
        match cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(held) => cause = held,
            None => match cause.source() {
                Some(deeper) => cause = deeper,
                None => break,
            },
        }
    }
    let error = HttpError::new(kind, cause.to_string());
    if speaks_h2 {
        return error.hinting("the server speaks HTTP/2, and this client HTTP/1");
    }
    // With TLS 1.3, a server refuses a client certificate after the client considers the connection
    // established; its alert may be lost.
    if protocol == HttpProtocol::Http2
        && kind == HttpErrorKind::ConnectionLost
        && !is_https
        && !cause.is::<io::Error>()
    {
        return error.hinting("does the server speak HTTP/2?");
    }
    if is_canceled && is_https {
        return error.hinting(
            "the server closed the connection at once, as one does that refuses this client's certificate",
        );
    }
    error
}

/// Describes a TLS error: the side at fault, rustls's message, and the option that would help.
fn of_tls(error: &rustls::Error, names: &OptionNames) -> HttpError {
    let authority = || Some(format!("{} adds an authority", names.name(HttpOption::Authority)));
    let certificate = || Some(format!("{} sets it", names.name(HttpOption::ClientCertificate)));
    let clock = || Some("it needs a new one, if the clock here is right".to_owned());
    let (why, hint) = match error {
        rustls::Error::InvalidCertificate(of_server) => match of_server {
            Of::Expired | Of::ExpiredContext { .. } => ("the server's certificate has expired", clock()),
            Of::NotValidYet | Of::NotValidYetContext { .. } => {
                ("the server's certificate is not valid yet, if the clock here is right", None)
            }
            Of::NotValidForName | Of::NotValidForNameContext { .. } => {
                ("the server's certificate is for another name than that of the address", None)
            }
            Of::UnknownIssuer => ("the server's certificate is of no authority that is trusted", authority()),
            _ => ("the server's certificate cannot be trusted", None),
        },
        rustls::Error::AlertReceived(of_client) => match of_client {
            Alert::CertificateExpired => {
                ("the server refuses this client's certificate, which has expired", None)
            }
            Alert::UnknownCA => {
                ("the server does not trust the authority of this client's certificate", None)
            }
            Alert::CertificateRequired => ("the server asks for a certificate of this client", certificate()),
            Alert::BadCertificate | Alert::CertificateUnknown | Alert::UnsupportedCertificate => {
                ("the server refuses this client's certificate, or that there is none", certificate())
            }
            Alert::ProtocolVersion => ("the server speaks no version of TLS that is safe", None),
            Alert::NoApplicationProtocol => ("the server does not speak the protocol of this client", None),
            _ => ("the server ends TLS", None),
        },
        rustls::Error::PeerIncompatible(_) => ("the server speaks no TLS that is safe", None),
        rustls::Error::InvalidMessage(_) => ("the server does not speak TLS; is this a port for http?", None),
        _ => ("TLS", None),
    };
    let described = HttpError::new(HttpErrorKind::Tls, format!("{why}: {error}"));
    match hint {
        Some(hint) => described.hinting(hint),
        None => described,
    }
}
