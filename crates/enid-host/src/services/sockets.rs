//! The sockets that the services are asked at, as one namespace has them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

use enid_pipeline::bytes::Addr;
use enid_pipeline::service::{self, port};

use super::packet_socket;
use super::site::has_ipv6;

/// Every socket of one VPC's services. They do not block.
#[derive(Debug)]
pub struct Sockets {
    /// Metadata.
    pub(super) metadata: Vec<TcpListener>,
    /// The resolver, for questions that take a connection.
    pub(super) dns: Vec<TcpListener>,
    /// The resolver.
    pub(super) dns_datagrams: Vec<UdpSocket>,
    /// The time.
    pub(super) time: Vec<UdpSocket>,
    /// DHCP, and who asks for a router: frames as they are.
    pub(super) configuration: UdpSocket,
}

/// A socket cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("listen at {at}")]
pub struct SocketError {
    /// Where.
    at: Place,
    /// How it failed.
    source: io::Error,
}

#[derive(Debug)]
enum Place {
    Configuration,
    Service(SocketAddr),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Configuration => f.write_str("the link to services"),
            Self::Service(address) => address.fmt(f),
        }
    }
}

impl Sockets {
    /// Opens them in the calling thread's namespace, where the link to the VPC has this index.
    pub(super) fn open(index: u32, resolver: Ipv4Addr) -> Result<Self, SocketError> {
        let resolvers = [
            Addr::from(resolver),
            service::RESOLVER,
            service::RESOLVER_V6,
        ];
        let configuration = packet_socket::open(index).map_err(|source| SocketError {
            at: Place::Configuration,
            source,
        })?;
        Ok(Self {
            metadata: all(
                &[service::METADATA, service::METADATA_V6],
                port::HTTP,
                listener,
            )?,
            dns: all(&resolvers, port::DNS, listener)?,
            dns_datagrams: all(&resolvers, port::DNS, datagrams)?,
            time: all(&[service::TIME, service::TIME_V6], port::NTP, datagrams)?,
            configuration,
        })
    }
}

/// A socket at each of these addresses that this kernel can have.
fn all<S>(
    addresses: &[Addr],
    port: u16,
    open: impl Fn(SocketAddr) -> io::Result<S>,
) -> Result<Vec<S>, SocketError> {
    let addresses = addresses.iter().map(|address| IpAddr::from(*address));
    addresses
        .filter(|address| address.is_ipv4() || has_ipv6())
        .map(|address| {
            let at = SocketAddr::new(address, port);
            open(at).map_err(|source| SocketError {
                at: Place::Service(at),
                source,
            })
        })
        .collect()
}

fn listener(at: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(at)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn datagrams(at: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(at)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}
