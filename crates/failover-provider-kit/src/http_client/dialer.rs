//! TCP connections to the first address of a host that accepts one.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use failover_core::Error;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::error::{HttpError, HttpErrorKind};

/// How long an address may stay silent before the next one is tried beside it (RFC 8305, section 5).
const STAGGER: Duration = Duration::from_millis(250);
/// A connection that has been idle for this long is verified by the operating system.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// How many addresses an error names.
const SHOWN: usize = 4;

type Resolving = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;
type Resolver = Arc<dyn Fn(String, u16) -> Resolving + Send + Sync>;

/// Where to connect to: a host, a port, and the rules for this connection alone.
#[derive(Clone, Copy)]
pub struct ConnectTarget<'a> {
    pub(super) host: &'a str,
    pub(super) port: u16,
    pub(super) server_name: Option<&'a str>,
    allowed: Option<&'a (dyn Fn(IpAddr) -> Result<(), Error> + Sync)>,
}

impl<'a> ConnectTarget<'a> {
    /// Creates a target. `host` is a name or an IP address without brackets.
    pub fn new(host: &'a str, port: u16) -> Self {
        Self { host, port, server_name: None, allowed: None }
    }

    /// Sets the name in the server's certificate; default that of
    /// [`TlsBuilder::server_name`](crate::TlsBuilder::server_name), or the host.
    #[must_use]
    pub fn server_name(mut self, name: &'a str) -> Self {
        self.server_name = Some(name);
        self
    }

    /// Sets a rule that each address has to pass right before it is connected to. A name may resolve
    /// differently each time, so a check before that proves nothing.
    #[must_use]
    pub fn allowed(mut self, rule: &'a (dyn Fn(IpAddr) -> Result<(), Error> + Sync)) -> Self {
        self.allowed = Some(rule);
        self
    }

    fn check(&self, address: IpAddr) -> Result<(), Error> {
        self.allowed.map_or(Ok(()), |rule| rule(address))
    }
}

impl fmt::Debug for ConnectTarget<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConnectTarget({}:{})", self.host, self.port)
    }
}

/// Connects to the first address of a host that accepts a connection.
///
/// It tries the addresses in the resolver's order, alternating between IPv6 and IPv4, and the next
/// one as soon as one fails, or beside it after 250 ms without an answer: an address that swallows
/// packets costs a quarter of a second, not the whole time limit.
#[derive(Clone)]
pub struct Dialer {
    connect_timeout: Duration,
    resolver: Option<Resolver>,
}

impl Dialer {
    /// Creates a dialer that resolves names with the operating system and waits 5 s for each
    /// address.
    pub fn new() -> Self {
        Self { connect_timeout: Duration::from_secs(5), resolver: None }
    }

    /// Sets how long each address has to accept a connection; default 5 s.
    #[must_use]
    pub fn with_connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = limit;
        self
    }

    /// Sets how names are resolved, instead of by the operating system. It is not asked for IP
    /// addresses.
    #[must_use]
    pub fn with_resolver<F, Fut>(mut self, resolve: F) -> Self
    where
        F: Fn(String, u16) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static,
    {
        self.resolver = Some(Arc::new(move |host, port| Box::pin(resolve(host, port))));
        self
    }

    /// Connects, with TCP's delay off.
    ///
    /// # Errors
    ///
    /// Returns an error if the host cannot be resolved, or each of its addresses is refused by the
    /// target's rule or does not accept the connection. It names up to four addresses.
    ///
    /// # Cancel safety
    ///
    /// Safe: a dropped future closes the connections that it has begun.
    pub async fn connect(&self, target: &ConnectTarget<'_>) -> Result<TcpStream, HttpError> {
        let ConnectTarget { host, port, .. } = *target;
        let name = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let found = match (host.parse::<IpAddr>(), &self.resolver) {
            (Ok(address), _) => Ok(vec![SocketAddr::new(address, port)]),
            (Err(_), Some(resolve)) => resolve(host.to_owned(), port).await,
            (Err(_), None) => tokio::net::lookup_host((host, port)).await.map(Iterator::collect),
        };
        let unresolved = |why: String| HttpError::new(HttpErrorKind::Unresolved, why).at(&name);
        let addresses = found.map_err(|error| unresolved(format!("{host} cannot be resolved: {error}")))?;
        if addresses.is_empty() {
            return Err(unresolved(format!("{host} resolves to no address")));
        }
        self.first(alternating(addresses), target, &name).await.map_err(|error| error.at(&name))
    }

    /// `name` is the text of the target.
    async fn first(
        &self,
        addresses: Vec<SocketAddr>,
        target: &ConnectTarget<'_>,
        name: &str,
    ) -> Result<TcpStream, HttpError> {
        let mut left = addresses.into_iter().peekable();
        let (mut attempts, mut failed, mut forbidden) = (JoinSet::new(), Vec::new(), None);
        loop {
            if let Some(address) = left.next() {
                if let Err(refused) = target.check(address.ip()) {
                    forbidden = Some(refused);
                    continue;
                }
                let limit = self.connect_timeout;
                attempts.spawn(async move { (address, open(address, limit).await) });
            }
            let next = attempts.join_next();
            let ended = if left.peek().is_some() {
                match timeout(STAGGER, next).await {
                    Ok(ended) => ended,
                    Err(_) => continue,
                }
            } else {
                next.await
            };
            match ended {
                Some(Ok((_, Ok(stream)))) => return Ok(stream),
                Some(Ok((address, Err(error)))) => failed.push((address, error)),
                None if left.peek().is_none() => return Err(none_accepted(&failed, forbidden, name)),
                // A task ends without a result only with its runtime.
                Some(Err(_)) | None => {}
            }
        }
    }
}

impl Default for Dialer {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialer").field("connect_timeout", &self.connect_timeout).finish_non_exhaustive()
    }
}

async fn open(address: SocketAddr, limit: Duration) -> io::Result<TcpStream> {
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, format!("not accepted within {limit:?}"));
    let stream = timeout(limit, TcpStream::connect(address)).await.map_err(late)??;
    // The connection works without them; a system may refuse both for one that was reset already.
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(&stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE));
    Ok(stream)
}

/// Puts the addresses of both families in turns, beginning with the family of the first, and leaves
/// out repeated ones.
fn alternating(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let mut seen = std::collections::HashSet::new();
    let (same, other): (Vec<_>, Vec<_>) =
        addresses.into_iter().filter(|one| seen.insert(*one)).partition(|one| one.is_ipv6() == first_is_v6);
    let mut order = Vec::with_capacity(same.len() + other.len());
    let (mut same, mut other) = (same.into_iter(), other.into_iter());
    loop {
        let turn = [same.next(), other.next()];
        if turn == [None, None] {
            return order;
        }
        order.extend(turn.into_iter().flatten());
    }
}

/// Returns the error of a host of which no address accepted a connection.
fn none_accepted(failed: &[(SocketAddr, io::Error)], forbidden: Option<Error>, name: &str) -> HttpError {
    match (failed, forbidden) {
        ([], Some(forbidden)) => HttpError::of_policy(forbidden),
        ([], None) => HttpError::new(HttpErrorKind::NotConnected, "the runtime shuts down"),
        _ => {
            let cause = |(address, error): &(SocketAddr, io::Error)| match address.to_string() {
                address if address == name => error.to_string(),
                address => format!("{address}: {error}"),
            };
            let mut causes: Vec<_> = failed.iter().take(SHOWN).map(cause).collect();
            if failed.len() > SHOWN {
                causes.push(format!("and {} more", failed.len() - SHOWN));
            }
            let is_refused = failed.iter().all(|(_, error)| error.kind() == io::ErrorKind::ConnectionRefused);
            HttpError::new(HttpErrorKind::NotConnected, causes.join(", ")).refused(is_refused)
        }
    }
}
