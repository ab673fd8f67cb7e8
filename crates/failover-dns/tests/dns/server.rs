//! A name server on this machine whose zone changes while it runs.

#![allow(dead_code, reason = "the example needs less than the tests")]

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use failover_core::async_trait;
use hickory_proto::op::{Header, HeaderCounts, Metadata, ResponseCode};
use hickory_proto::rr::rdata::{CNAME, NS, SOA, SRV};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_server::Server;
use hickory_server::net::runtime::Time;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;
use tokio::net::{TcpListener, UdpSocket};

/// How the server behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mood {
    #[default]
    Answers,
    /// Every question has this code.
    Says(ResponseCode),
    /// No question is answered.
    Silent,
    /// Every answer is about another name.
    Lies,
    /// Names it does not have are referred to other servers.
    Refers,
}

/// What the server serves.
#[derive(Debug)]
pub(crate) struct Zone {
    records: HashMap<(Name, RecordType), Vec<Record>>,
    pub(crate) ttl: u32,
    pub(crate) mood: Mood,
    /// The type whose questions are not answered, but have a code.
    pub(crate) fails: Option<(RecordType, ResponseCode)>,
    /// The names that the server fails to resolve.
    pub(crate) broken: Vec<Name>,
    /// Whether an alias is all that is said about a name, as by a server that does not resolve.
    pub(crate) alone: bool,
    /// Whether the addresses of targets come with SRV records.
    pub(crate) additional: bool,
    pub(crate) asked: Vec<(String, RecordType)>,
}

impl Zone {
    pub(crate) fn add(&mut self, name: &str, data: RData) {
        self.add_at(self::name(name), data);
    }

    pub(crate) fn add_at(&mut self, name: Name, data: RData) {
        let record = Record::from_rdata(name.clone(), self.ttl, data);
        self.records.entry((name, record.record_type())).or_default().push(record);
    }

    pub(crate) fn addresses(&mut self, name: &str, addresses: impl IntoIterator<Item = IpAddr>) {
        for kind in [RecordType::A, RecordType::AAAA] {
            self.clear(name, kind);
        }
        for address in addresses {
            self.add(name, address.into());
        }
    }

    pub(crate) fn address(&mut self, name: &str, address: &str) {
        self.add(name, address.parse::<IpAddr>().expect("an address").into());
    }

    pub(crate) fn remove_address(&mut self, name: &str, address: &str) {
        let gone = RData::from(address.parse::<IpAddr>().expect("an address"));
        if let Some(records) = self.records.get_mut(&(self::name(name), gone.record_type())) {
            records.retain(|record| record.data != gone);
        }
    }

    pub(crate) fn srv(&mut self, name: &str, (priority, weight, port): (u16, u16, u16), target: &str) {
        self.add(name, RData::SRV(SRV::new(priority, weight, port, self::name(target))));
    }

    /// Removes the SRV records of a name that have this target.
    pub(crate) fn remove_srv(&mut self, name: &str, target: &Name) {
        if let Some(records) = self.records.get_mut(&(self::name(name), RecordType::SRV)) {
            records.retain(|record| !matches!(&record.data, RData::SRV(srv) if srv.target == *target));
        }
    }

    pub(crate) fn alias(&mut self, name: &str, target: &str) {
        self.add(name, RData::CNAME(CNAME(self::name(target))));
    }

    /// Removes the records of a type; the name stays.
    pub(crate) fn clear(&mut self, name: &str, kind: RecordType) {
        self.records.insert((self::name(name), kind), Vec::new());
    }

    /// Removes a name.
    pub(crate) fn remove(&mut self, name: &str) {
        let gone = self::name(name);
        self.records.retain(|(name, _), _| *name != gone);
    }

    /// Returns the code and the records that answer a question.
    fn answer(&self, name: &Name, kind: RecordType) -> (ResponseCode, Vec<Record>) {
        let (mut at, mut answer) = (name.clone(), Vec::new());
        for _ in 0..20 {
            let of = |kind| self.records.get(&(at.clone(), kind)).into_iter().flatten().cloned();
            let found: Vec<_> = of(kind).collect();
            if !found.is_empty() {
                answer.extend(found);
                return (ResponseCode::NoError, answer);
            }
            match of(RecordType::CNAME).next() {
                Some(alias) => {
                    if let RData::CNAME(target) = &alias.data {
                        at = target.0.clone();
                    }
                    answer.push(alias);
                    if self.alone {
                        break;
                    }
                }
                None if self.records.keys().any(|(name, _)| *name == at) => break,
                None => return (ResponseCode::NXDomain, answer),
            }
        }
        (ResponseCode::NoError, answer)
    }

    fn with_targets(&self, answer: &[Record]) -> Vec<Record> {
        let targets = answer.iter().filter_map(|record| match &record.data {
            RData::SRV(srv) if self.additional => Some(srv.target.clone()),
            _ => None,
        });
        let of = |name: Name| [(name.clone(), RecordType::A), (name, RecordType::AAAA)];
        targets.flat_map(of).filter_map(|key| self.records.get(&key)).flatten().cloned().collect()
    }
}

pub(crate) fn name(text: &str) -> Name {
    let mut name = Name::from_ascii(text).expect("a name");
    name.set_fqdn(true);
    name
}

#[derive(Clone)]
struct Handler(Arc<Mutex<Zone>>);

#[async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut response: R,
    ) -> ResponseInfo {
        let mut metadata = Metadata::response_from_request(&request.metadata);
        let ignored = ResponseInfo::from(Header { metadata, counts: HeaderCounts::default() });
        let Ok(info) = request.request_info() else { return ignored };
        let (asked, kind) = (Name::from(info.query.name().clone()), info.query.query_type());
        let (answer, authorities, soa, additional) = {
            let mut zone = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            zone.asked.push((asked.to_ascii(), kind));
            let (mut code, mut answer) = zone.answer(&asked, kind);
            let mut authorities = Vec::new();
            let mut soa = Vec::new();
            match zone.mood {
                Mood::Silent => return ignored,
                Mood::Says(says) => (code, answer) = (says, Vec::new()),
                Mood::Lies => {
                    for record in &mut answer {
                        record.name = name("other.test");
                    }
                }
                Mood::Refers if answer.is_empty() => {
                    code = ResponseCode::NoError;
                    let other = RData::NS(NS(name("ns.example.net")));
                    authorities.push(Record::from_rdata(name("example.net"), 60, other));
                }
                Mood::Answers | Mood::Refers => {
                    if answer.iter().all(|record| record.record_type() != kind) {
                        let data = SOA::new(name("ns.test"), name("admin.test"), 1, 60, 60, 60, zone.ttl);
                        soa.push(Record::from_rdata(name("test"), zone.ttl, RData::SOA(data)));
                    }
                }
            }
            if let Some((_, says)) = zone.fails.filter(|(of, _)| *of == kind) {
                (code, answer) = (says, Vec::new());
            }
            if zone.broken.contains(&asked) {
                (code, answer) = (ResponseCode::ServFail, Vec::new());
            }
            metadata.response_code = code;
            let additional = zone.with_targets(&answer);
            (answer, authorities, soa, additional)
        };
        let builder = MessageResponseBuilder::from_message_request(request);
        let message = builder.build(metadata, &answer, &authorities, &soa, &additional);
        response.send_response(message).await.unwrap_or(ignored)
    }
}

/// A running server, which ends when it is dropped.
pub(crate) struct NameServer {
    pub(crate) address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    _server: Server<Handler>,
}

impl NameServer {
    /// Starts a server for UDP and TCP at one free port, with a time to live of 1 s.
    pub(crate) async fn start() -> Self {
        loop {
            let udp = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
            let address = udp.local_addr().expect("an address");
            // Somebody else may have the port for TCP.
            let Ok(tcp) = TcpListener::bind(address).await else { continue };
            return Self::on(udp, tcp, address);
        }
    }

    fn on(udp: UdpSocket, tcp: TcpListener, address: SocketAddr) -> Self {
        let zone = Arc::new(Mutex::new(Zone {
            records: HashMap::new(),
            ttl: 1,
            mood: Mood::Answers,
            fails: None,
            broken: Vec::new(),
            alone: false,
            additional: true,
            asked: Vec::new(),
        }));
        let mut server = Server::new(Handler(Arc::clone(&zone)));
        server.register_socket(udp);
        server.register_listener(tcp, Duration::from_secs(5), 64);
        Self { address, zone, _server: server }
    }

    pub(crate) fn zone(&self) -> MutexGuard<'_, Zone> {
        self.zone.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
