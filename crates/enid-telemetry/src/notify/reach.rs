//! Which endpoints the daemon may send to: whoever may subscribe makes it send requests.
//!
//! The rule is about addresses, and it is asked of the address that is connected to, after the name
//! was resolved: a name that changes its mind in between gains nothing. Without configuration that is
//! this machine's loopback alone. Of loopback the ports below 1024 are left out but for those of HTTP,
//! because services of the machine listen there, and always the daemon's own.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

/// What may be reached.
#[derive(Debug, Clone)]
pub struct Reach {
    allowed: Vec<IpNet>,
    /// The daemon's own listener.
    own: SocketAddr,
}

/// Why an endpoint may not be reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreachable {
    /// The address is in none of the blocks that may be reached.
    #[error("{0} is in none of the blocks of [notify] allow")]
    Address(IpAddr),
    /// It is the daemon itself.
    #[error("{0} is the daemon itself")]
    Own(SocketAddr),
    /// A port of another service of this machine.
    #[error("port {0} of this machine is not for HTTP")]
    Port(u16),
}

impl Reach {
    /// These blocks of addresses, for a daemon that listens here.
    #[must_use]
    pub fn new(allowed: Vec<IpNet>, own: SocketAddr) -> Self {
        Self { allowed, own }
    }

    /// This machine's loopback.
    #[must_use]
    pub fn loopback() -> Vec<IpNet> {
        let blocks = ["127.0.0.0/8", "::1/128"].into_iter();
        blocks.filter_map(|block| block.parse().ok()).collect()
    }

    /// Whether a connection to an address may be made.
    pub fn check(&self, to: SocketAddr) -> Result<(), Unreachable> {
        // An IPv4 address in IPv6's clothes is what it is.
        let address = to.ip().to_canonical();
        if !self.allowed.iter().any(|block| block.contains(&address)) {
            return Err(Unreachable::Address(address));
        }
        // Any of the machine's own addresses leads to a listener on all of them, which is for its
        // own configuration to avoid; the daemon listens on loopback only.
        let is_own_port = to.port() == self.own.port();
        if is_own_port && (address.is_loopback() || address == self.own.ip().to_canonical()) {
            return Err(Unreachable::Own(to));
        }
        let is_this_machine = address.is_loopback() || address.is_unspecified();
        if is_this_machine && to.port() < 1024 && !matches!(to.port(), 80 | 443) {
            return Err(Unreachable::Port(to.port()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(allowed: Vec<IpNet>, to: &str) -> Result<(), Unreachable> {
        let reach = Reach::new(allowed, "127.0.0.1:4566".parse().unwrap());
        reach.check(to.parse().unwrap())
    }

    #[test]
    fn loopback_is_reached_without_configuration_and_nothing_else() {
        for to in [
            "127.0.0.1:8080",
            "[::1]:8080",
            "127.9.9.9:80",
            "[::ffff:127.0.0.1]:8080",
        ] {
            assert_eq!(check(Reach::loopback(), to), Ok(()), "{to}");
        }
        for to in [
            "169.254.169.254:80",
            "10.0.0.1:80",
            "8.8.8.8:443",
            "0.0.0.0:8080",
            "[fd00::1]:8080",
            "[::ffff:10.0.0.1]:8080",
            "127.0.0.1:4566",
            "127.0.0.2:4566",
            "[::1]:4566",
            "[::ffff:127.0.0.1]:4566",
            "127.0.0.1:22",
        ] {
            assert!(check(Reach::loopback(), to).is_err(), "{to}");
        }
    }

    #[test]
    fn what_is_configured_replaces_it() {
        let allowed = vec!["10.0.0.0/8".parse().unwrap()];
        assert_eq!(check(allowed.clone(), "10.1.2.3:22"), Ok(()));
        assert!(check(allowed, "127.0.0.1:8080").is_err());
        let everything = vec!["0.0.0.0/0".parse().unwrap()];
        assert!(check(everything, "127.0.0.1:4566").is_err());
    }
}
