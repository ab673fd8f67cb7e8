//! Connects to endpoints at allowed addresses.

use std::io;
use std::net::SocketAddr;

use failover_core::probe::ProbeTarget;
use failover_core::{Error, ErrorKind};
use tokio::net::TcpStream;

/// How a host name is resolved.
#[derive(Clone, Debug, Default)]
pub(crate) enum Lookup {
    #[default]
    System,
    /// Scripted results, for tests.
    #[cfg(test)]
    Scripted(std::sync::Arc<std::sync::Mutex<std::collections::VecDeque<Vec<SocketAddr>>>>),
}

impl Lookup {
    async fn look_up(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        match self {
            Self::System => Ok(tokio::net::lookup_host((host, port)).await?.collect()),
            #[cfg(test)]
            Self::Scripted(answers) => {
                Ok(answers.lock().expect("whole").pop_front().expect("as often as it is asked"))
            }
        }
    }

    /// Connects to the first allowed address of the endpoint that accepts the connection.
    pub(crate) async fn connect(&self, target: &ProbeTarget) -> Result<(TcpStream, SocketAddr), Error> {
        let endpoint = target.endpoint();
        let addresses = match endpoint.socket_addr() {
            Some(address) => vec![address],
            None => self.look_up(endpoint.address(), endpoint.port()).await.map_err(|error| {
                failed(ErrorKind::Connection, format!("{} cannot be resolved: {error}", endpoint.address()))
            })?,
        };
        let mut last = None;
        for address in addresses {
            // Checks the address that is connected to: a name may resolve differently each time.
            if let Err(refused) = target.ensure_allowed(address.ip()) {
                last = Some(refused);
                continue;
            }
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok((stream, address)),
                Err(error) => {
                    last = Some(failed(ErrorKind::Connection, format!("connecting to {address}: {error}")));
                }
            }
        }
        Err(last.unwrap_or_else(|| {
            failed(ErrorKind::Connection, format!("{} resolves to no address", endpoint.address()))
        }))
    }
}

pub(crate) fn failed(kind: ErrorKind, message: String) -> Error {
    Error::new(kind, message).with_code("HEALTH_CHECK_FAILED")
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use failover_core::Endpoint;
    use failover_core::provider::AddressTrust;

    use super::*;

    fn scripted(answers: &[&[SocketAddr]]) -> Lookup {
        Lookup::Scripted(Arc::new(Mutex::new(answers.iter().map(|answer| answer.to_vec()).collect())))
    }

    fn target(port: u16, trust: AddressTrust) -> ProbeTarget {
        let endpoint = Endpoint::builder("a", "users", "users.example", port).build().expect("valid");
        ProbeTarget::new(endpoint).with_trust(trust, false)
    }

    #[tokio::test]
    async fn a_name_that_comes_to_stand_for_this_machine_or_for_metadata_is_refused_each_time() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let here = listener.local_addr().expect("bound");
        let target = target(here.port(), AddressTrust::Remote);
        for address in [
            here,
            SocketAddr::from(([169, 254, 169, 254], 80)),
            "[::ffff:169.254.169.254]:80".parse().expect("valid"),
            "[fd00:ec2::254]:80".parse().expect("valid"),
            "[::1]:80".parse().expect("valid"),
        ] {
            let error = scripted(&[&[address]]).connect(&target).await.expect_err("refused");
            assert_eq!((error.kind(), error.code()), (ErrorKind::Permission, "ADDRESS_REFUSED"), "{address}");
            assert!(error.to_string().starts_with("users.example is at "), "{error}");
        }
        // Of several addresses, only the allowed one is tried.
        let allowed = self::target(here.port(), AddressTrust::Loopback);
        let both = [SocketAddr::from(([169, 254, 169, 254], 80)), here];
        let (_, address) = scripted(&[&both]).connect(&allowed).await.expect("connects");
        assert_eq!(address, here);
        // The second resolution differs, and is checked again.
        let twice = scripted(&[&[here], &[SocketAddr::from(([169, 254, 169, 254], 80))]]);
        twice.connect(&allowed).await.expect("connects");
        twice.connect(&allowed).await.expect_err("rebound");
    }

    #[tokio::test]
    async fn a_name_without_an_address_says_so() {
        let error = scripted(&[&[]]).connect(&target(80, AddressTrust::Remote)).await.expect_err("nothing");
        assert_eq!(error.to_string(), "users.example resolves to no address");
    }
}
