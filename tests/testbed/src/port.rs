use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::{Ipv4Addr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use crate::Error;

/// A loopback port that is ours as long as this value lives, also while no server listens on it.
#[derive(Debug)]
pub(crate) struct Port {
    number: u16,
    /// A name in the abstract socket namespace is gone with the process that holds it, however it ends,
    /// and is seen by every process that sees our ports.
    _claim: UnixListener,
}

/// Below every usual range of ephemeral ports (`ip_local_port_range`, 32768 and up). From within that
/// range, a client that keeps trying to reach a server that is down would at some point be given the
/// server's port as its own, connect to itself, and keep the server from coming back.
const LOWEST: u16 = 15_000;
const HIGHEST: u16 = 31_999;

/// Starts a server on a port of its own choice, on another one when that turns out to be taken.
pub(crate) fn retry_when_taken<S>(mut start: impl FnMut() -> Result<S, Error>) -> Result<S, Error> {
    for _ in 0..2 {
        match start() {
            Err(error) if error.is_port_taken() => {}
            other => return other,
        }
    }
    start()
}

impl Port {
    /// A free port; no two testbeds on the machine get the same one.
    pub(crate) fn claim() -> Result<Self, Error> {
        let random = RandomState::new();
        let count = u64::from(HIGHEST - LOWEST) + 1;
        for attempt in 0..1_000_u32 {
            let offset = u16::try_from(random.hash_one(attempt) % count).unwrap_or_default();
            let number = LOWEST + offset;
            let name = SocketAddr::from_abstract_name(format!("postrider-testbed-port-{number}"))
                .map_err(Error::io("naming a port's claim"))?;
            let Ok(claim) = UnixListener::bind_addr(&name) else { continue };
            if TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok() {
                return Ok(Self { number, _claim: claim });
            }
        }
        Err(Error::Unsupported(format!("no free port on 127.0.0.1 between {LOWEST} and {HIGHEST}")))
    }

    pub(crate) fn number(&self) -> u16 {
        self.number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_claims_never_share_a_port() {
        let claims: Vec<_> = (0..200).map(|_| Port::claim().unwrap()).collect();
        let numbers: std::collections::BTreeSet<_> = claims.iter().map(Port::number).collect();
        assert_eq!(numbers.len(), claims.len());
    }
}
