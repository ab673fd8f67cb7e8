//! What a response says about a name.

use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::{DnsResponse, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};

/// The aliases that are followed within one response.
const MAX_ALIASES: usize = 16;

/// An answer to a question.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Records of the type, and those that came with them.
    Records { data: Vec<RData>, additional: Vec<Record>, ttl: u32 },
    /// The name has no record of the type.
    NoData { ttl: Option<u32> },
    /// The name does not exist.
    NoName { ttl: Option<u32> },
}

/// What a response says.
pub(crate) enum Said {
    Answer(Answer),
    /// The name is an alias of another one, about which nothing is said.
    Alias {
        target: Name,
        ttl: u32,
    },
}

impl Answer {
    /// Shortens the time to live.
    pub(crate) fn within(self, limit: u32) -> Self {
        match self {
            Self::Records { data, additional, ttl } => {
                Self::Records { data, additional, ttl: ttl.min(limit) }
            }
            Self::NoData { ttl } => Self::NoData { ttl: ttl.map(|ttl| ttl.min(limit)) },
            Self::NoName { ttl } => Self::NoName { ttl: ttl.map(|ttl| ttl.min(limit)) },
        }
    }
}

/// Why a server gave no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// SERVFAIL, REFUSED and the like.
    Refused(ResponseCode),
    Silent,
    Unreachable(String),
    Unusable(String),
}

/// Reads what a server has said, or why it has said nothing.
pub(crate) fn read(
    response: Result<DnsResponse, NetError>,
    name: &Name,
    kind: RecordType,
) -> Result<Said, Failure> {
    match response {
        Ok(response) => follow(response, name, kind),
        Err(NetError::Dns(DnsError::NoRecordsFound(none))) => {
            // The servers of another zone, and nothing about the name: this one does not resolve names.
            if none.response_code == ResponseCode::NoError && none.ns.is_some() && none.soa.is_none() {
                return Err(Failure::Unusable("it only refers to other servers".to_owned()));
            }
            let ttl = none.negative_ttl;
            match none.response_code {
                ResponseCode::NXDomain => Ok(Said::Answer(Answer::NoName { ttl })),
                ResponseCode::NoError => Ok(Said::Answer(Answer::NoData { ttl })),
                code => Err(Failure::Refused(code)),
            }
        }
        Err(NetError::Dns(DnsError::ResponseCode(code))) => Err(Failure::Refused(code)),
        Err(NetError::Timeout) => Err(Failure::Silent),
        Err(NetError::Io(error)) if error.kind() == std::io::ErrorKind::TimedOut => Err(Failure::Silent),
        Err(NetError::Io(error)) => Err(Failure::Unreachable(error.to_string())),
        Err(NetError::NoConnections | NetError::Busy) => {
            Err(Failure::Unreachable("no connection".to_owned()))
        }
        Err(NetError::Truncated) => Err(Failure::Unusable("the answer is cut off, over TCP, too".to_owned())),
        // The text of others may quote the response.
        Err(_) => Err(Failure::Unusable("the answer cannot be read".to_owned())),
    }
}

/// Follows the aliases of a response to the records.
fn follow(response: DnsResponse, name: &Name, kind: RecordType) -> Result<Said, Failure> {
    let message = response.into_message();
    let code = message.metadata.response_code;
    if !matches!(code, ResponseCode::NoError | ResponseCode::NXDomain) {
        return Err(Failure::Refused(code));
    }
    let (mut at, mut ttl) = (name.clone(), u32::MAX);
    for _ in 0..MAX_ALIASES {
        let records = || message.answers.iter().filter(|record| record.name == at);
        let data: Vec<_> = records().filter(|record| record.record_type() == kind).collect();
        if let Some(shortest) = data.iter().map(|record| record.ttl).min() {
            let data = data.into_iter().map(|record| record.data.clone()).collect();
            let ttl = ttl.min(shortest);
            return Ok(Said::Answer(Answer::Records { data, additional: message.additionals, ttl }));
        }
        let alias = records().find_map(|record| match &record.data {
            RData::CNAME(alias) => Some((alias.0.clone(), record.ttl)),
            _ => None,
        });
        match alias {
            Some((target, of_alias)) => {
                ttl = ttl.min(of_alias);
                at = target;
            }
            None if at == *name => {
                return Err(Failure::Unusable("the answer is about another name".to_owned()));
            }
            // Whether the target exists is a question of its own, whatever the code says.
            None => return Ok(Said::Alias { target: at, ttl }),
        }
    }
    Err(Failure::Unusable(format!("it has a chain of more than {MAX_ALIASES} aliases")))
}
