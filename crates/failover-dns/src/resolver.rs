//! Asks name servers.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use failover_core::{Error, ErrorKind, codes};
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::xfer::{DnsHandle, FirstAnswer};
use hickory_resolver::proto::op::{DnsRequestOptions, Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::{NameServerPool, PoolContext, TlsConfig};

use crate::answer::{Answer, Failure, Said, read};

/// The questions that one chain of aliases may cost.
const MAX_QUESTIONS: usize = 8;

/// Name servers, and how long they may take for one question together.
pub(crate) struct Resolver {
    servers: Vec<Server>,
    timeout: Duration,
    /// The one that has answered last, which is asked first.
    first: AtomicUsize,
}

struct Server {
    address: SocketAddr,
    pool: NameServerPool<TokioRuntimeProvider>,
}

impl Resolver {
    pub(crate) fn new(servers: &[SocketAddr], timeout: Duration) -> Result<Self, Error> {
        // Servers are asked one after the other; each has its share of the time.
        let share = timeout / u32::try_from(servers.len()).unwrap_or(u32::MAX).max(1);
        let made: Result<_, Error> = servers.iter().map(|address| Server::new(*address, share)).collect();
        Ok(Self { servers: made?, timeout: share, first: AtomicUsize::new(0) })
    }

    /// Returns the addresses of the servers.
    pub(crate) fn shown(&self) -> String {
        let addresses: Vec<_> = self.servers.iter().map(|server| server.address.to_string()).collect();
        addresses.join(", ")
    }

    /// Asks for the records of a type, and follows aliases.
    ///
    /// # Errors
    ///
    /// Returns `Connection` or `Timeout` if no server has given an answer.
    pub(crate) async fn ask(&self, name: &Name, kind: RecordType) -> Result<Answer, Error> {
        let (mut at, mut limit) = (name.clone(), u32::MAX);
        for _ in 0..MAX_QUESTIONS {
            match self.question(&at, kind).await? {
                Said::Answer(answer) => return Ok(answer.within(limit)),
                Said::Alias { target, ttl } => {
                    limit = limit.min(ttl);
                    at = target;
                }
            }
        }
        let why =
            format!("its aliases lead to more than {MAX_QUESTIONS} names, or in a circle; mend the zone");
        Err(Error::bad_answer(Asked { name, kind, servers: &self.shown() }, why))
    }

    async fn question(&self, name: &Name, kind: RecordType) -> Result<Said, Error> {
        let mut failures = Vec::new();
        let count = self.servers.len();
        let first = self.first.load(Ordering::Relaxed);
        for index in (0..count).map(|index| (first + index) % count) {
            let server = &self.servers[index];
            match server.question(name, kind, self.timeout).await {
                Ok(said) => {
                    self.first.store(index, Ordering::Relaxed);
                    return Ok(said);
                }
                Err(failure) => failures.push((server.address, failure)),
            }
        }
        Err(self.error(name, kind, &failures))
    }

    /// Asks whether any server responds, whatever it says.
    pub(crate) async fn ping(&self, name: &Name) -> Result<(), Error> {
        let mut failures = Vec::new();
        for server in &self.servers {
            match server.question(name, RecordType::SOA, self.timeout).await {
                Ok(_) | Err(Failure::Refused(_) | Failure::Unusable(_)) => return Ok(()),
                Err(failure) => failures.push((server.address, failure)),
            }
        }
        Err(self.error(name, RecordType::SOA, &failures))
    }

    fn error(&self, name: &Name, kind: RecordType, failures: &[(SocketAddr, Failure)]) -> Error {
        let told: Vec<_> =
            failures.iter().map(|(address, failure)| format!("{address} {}", self.told(failure))).collect();
        let servers = told.join("; ");
        let asked = Asked { name, kind, servers: &servers };
        // What a server says tells more than the silence of others.
        let telling = failures.iter().map(|(_, failure)| failure).max_by_key(|failure| match failure {
            Failure::Silent => 0,
            Failure::Unreachable(_) => 1,
            Failure::Unusable(_) => 2,
            Failure::Refused(_) => 3,
        });
        match telling {
            None | Some(Failure::Silent) => {
                let advice =
                    "check the address of the server and what is between, such as a firewall for UDP and TCP";
                Error::new(ErrorKind::Timeout, format!("{asked}; {advice}")).with_code(codes::TIMEOUT)
            }
            Some(Failure::Unreachable(_)) => Error::unreachable(asked, "check the address of the server"),
            Some(Failure::Unusable(_)) => {
                let message = format!("{asked}; name a server that resolves names, and check what it serves");
                Error::new(ErrorKind::Connection, message).with_code(codes::BAD_ANSWER)
            }
            Some(Failure::Refused(code)) => {
                let advice = match *code {
                    ResponseCode::ServFail => "ask its operator: it cannot resolve the name at present",
                    ResponseCode::Refused => {
                        "it does not serve this client or this zone; name another server"
                    }
                    _ => "name another server",
                };
                Error::new(ErrorKind::Connection, format!("{asked}; {advice}"))
                    .with_code(codes::SERVER_ERROR)
                    .with_detail("rcode", shown(*code))
            }
        }
    }

    fn told(&self, failure: &Failure) -> String {
        match failure {
            Failure::Silent => format!("gave no answer within {:?}", self.timeout),
            Failure::Unreachable(why) => format!("cannot be reached ({why})"),
            Failure::Unusable(why) => format!("gave no usable answer: {why}"),
            Failure::Refused(code) => format!("answered {}", shown(*code)),
        }
    }
}

impl Server {
    fn new(address: SocketAddr, timeout: Duration) -> Result<Self, Error> {
        let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
        for connection in &mut connections {
            connection.port = address.port();
        }
        let config = NameServerConfig::new(address.ip(), true, connections);
        let mut options = ResolverOpts::default();
        options.timeout = timeout;
        options.attempts = 1;
        options.cache_size = 0;
        let tls = TlsConfig::new().map_err(|error| Error::tls(address, error))?;
        let context = Arc::new(PoolContext::new(options, tls));
        let pool = NameServerPool::from_config([config], context, TokioRuntimeProvider::default());
        Ok(Self { address, pool })
    }

    async fn question(&self, name: &Name, kind: RecordType, limit: Duration) -> Result<Said, Failure> {
        let options = DnsRequestOptions::default();
        let response = self.pool.lookup(Query::query(name.clone(), kind), options).first_answer();
        match tokio::time::timeout(limit, response).await {
            Ok(response) => read(response, name, kind),
            Err(_) => Err(Failure::Silent),
        }
    }
}

/// `users.example.com (A): 10.0.0.53:53 answered SERVFAIL`
struct Asked<'a> {
    name: &'a Name,
    kind: RecordType,
    servers: &'a str,
}

impl fmt::Display for Asked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", plain(self.name), self.kind, self.servers)
    }
}

fn shown(code: ResponseCode) -> String {
    match code {
        ResponseCode::ServFail => "SERVFAIL".to_owned(),
        ResponseCode::Refused => "REFUSED".to_owned(),
        ResponseCode::NotImp => "NOTIMP".to_owned(),
        ResponseCode::FormErr => "FORMERR".to_owned(),
        code => format!("code {}", u16::from(code)),
    }
}

/// Returns a name without its last dot.
pub(crate) fn plain(name: &Name) -> String {
    let text = name.to_ascii();
    text.strip_suffix('.').map_or_else(|| text.clone(), str::to_owned)
}

/// What the system's configuration says.
#[derive(Debug, Default)]
pub(crate) struct System {
    pub(crate) servers: Vec<SocketAddr>,
    pub(crate) search: Vec<Name>,
    pub(crate) ndots: usize,
}

impl System {
    /// Reads the system's configuration.
    pub(crate) fn read() -> Result<Self, Error> {
        let (config, options) = hickory_resolver::system_conf::read_system_conf().map_err(|error| {
            Error::unreachable("the system's name servers", format!("{error}; name one with `nameserver`"))
        })?;
        let system = Self::of(&config, options.ndots);
        if system.servers.is_empty() {
            let why = "its configuration has none; name one with `nameserver`";
            return Err(Error::unreachable("the system's name servers", why));
        }
        Ok(system)
    }

    fn of(config: &ResolverConfig, ndots: usize) -> Self {
        let port = |server: &NameServerConfig| server.connections.first().map_or(53, |first| first.port);
        let servers =
            config.name_servers().iter().map(|server| SocketAddr::new(server.ip, port(server))).collect();
        let mut search = config.search().to_vec();
        // Names in responses are absolute, and only absolute ones equal them.
        for domain in &mut search {
            domain.set_fqdn(true);
        }
        Self { servers, search, ndots }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_of_a_pod_is_read() {
        let text = "nameserver 10.96.0.10\nnameserver fd00::a\nsearch prod.svc.cluster.local svc.cluster.local\n\
                    options ndots:5\n";
        let (config, options) = hickory_resolver::system_conf::parse_resolv_conf(text).expect("valid");
        let system = System::of(&config, options.ndots);
        let servers: Vec<_> = system.servers.iter().map(SocketAddr::to_string).collect();
        assert_eq!(servers, ["10.96.0.10:53", "[fd00::a]:53"]);
        let search: Vec<_> = system.search.iter().map(Name::to_ascii).collect();
        assert_eq!(search, ["prod.svc.cluster.local.", "svc.cluster.local."]);
        assert!(system.search.iter().all(Name::is_fqdn));
        assert_eq!(system.ndots, 5);
    }
}
