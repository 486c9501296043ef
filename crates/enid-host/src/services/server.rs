//! What the services' thread does: tasks for the sockets of each VPC.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use enid_model::id::VpcId;
use enid_model::key::Scope;
use enid_model::state::State;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::asker::Asker;
use super::forward::Forwarder;
use super::imds::Imds;
use super::places::{OF_HOST_MAX, Place, Places};
use super::shares::Shares;
use super::sockets::Sockets;
use super::{configuration, http, resolver, time};

/// What the thread is told.
#[derive(Debug)]
pub(super) enum Command {
    /// Close the sockets of a VPC.
    Close(VpcId),
    /// Serve a VPC at these sockets.
    Open(Box<(Scope, VpcId, Sockets)>),
}

/// What the services of all VPCs share.
pub(super) struct Shared {
    /// The metadata service.
    pub(super) imds: Imds,
    /// What the resolver does not know.
    pub(super) forwarder: Forwarder,
}

/// What the region is to be, and what the kernel's tables are known to hold. Between a change and its being
/// in force they differ, and an address may be another's in the one than in the other.
#[derive(Debug, Clone)]
pub(super) struct Views {
    pub(super) wanted: Arc<State>,
    pub(super) in_force: Arc<State>,
    /// The zones that an injected fault stops.
    pub(super) failing: Arc<[String]>,
}

impl Views {
    /// Who asks from an address of a VPC: nobody, while that is not the same in both.
    fn asker<'a>(&'a self, scope: &Scope, vpc: VpcId, address: IpAddr) -> Option<Asker<'a>> {
        let asker = Asker::at(&self.wanted, scope, vpc, address)?;
        let before = Asker::at(&self.in_force, scope, vpc, address)?;
        let who = |asker: &Asker<'_>| (asker.eni.id, asker.instance().map(|instance| instance.id));
        let asker = Asker {
            failing: &self.failing,
            ..asker
        };
        (who(&asker) == who(&before)).then_some(asker)
    }
}

/// One VPC's services.
pub(super) struct Site {
    scope: Scope,
    pub(super) vpc: VpcId,
    views: watch::Receiver<Views>,
    pub(super) shared: Arc<Shared>,
    places: Places,
}

impl Site {
    /// What there is now, and in which region of it the VPC is.
    pub(super) fn with_state<T>(&self, look: impl FnOnce(&State, &Scope) -> T) -> T {
        let state = Arc::clone(&self.views.borrow().wanted);
        look(&state, &self.scope)
    }

    /// What there is to say to who asks from an address; `None` if that is no interface's.
    pub(super) fn with_asker<T>(
        &self,
        address: IpAddr,
        say: impl FnOnce(&Asker<'_>) -> T,
    ) -> Option<T> {
        let views = self.views.borrow().clone();
        let asker = views.asker(&self.scope, self.vpc, address)?;
        Some(say(&asker))
    }

    /// Room for a connection, or for a question that waits, of the interface with an address.
    pub(super) fn place(&self, address: IpAddr) -> Option<Place> {
        let eni = self.with_asker(address, |asker| asker.eni.id)?;
        self.places.take(eni)
    }
}

/// Works until nobody can say anything any more.
pub(super) async fn serve(
    mut commands: UnboundedReceiver<Command>,
    views: watch::Receiver<Views>,
    shared: Shared,
) {
    let shared = Arc::new(shared);
    let places = Shares::new(OF_HOST_MAX);
    // The tasks of a VPC end, and its sockets close, when its set is dropped.
    let mut sites: HashMap<VpcId, JoinSet<()>> = HashMap::new();
    while let Some(command) = commands.recv().await {
        match command {
            Command::Close(vpc) => drop(sites.remove(&vpc)),
            Command::Open(opened) => {
                let (scope, vpc, sockets) = *opened;
                let site = Site {
                    scope,
                    vpc,
                    views: views.clone(),
                    shared: Arc::clone(&shared),
                    places: Places::of(vpc, &places),
                };
                match begin(&Arc::new(site), sockets) {
                    Ok(tasks) => drop(sites.insert(vpc, tasks)),
                    Err(error) => {
                        tracing::error!(%vpc, %error, "link-local services could not begin");
                    }
                }
            }
        }
    }
}

/// Begins the tasks of a VPC.
fn begin(site: &Arc<Site>, sockets: Sockets) -> io::Result<JoinSet<()>> {
    let mut tasks = JoinSet::new();
    let streams = |listeners: Vec<TcpListener>| {
        let listeners = listeners.into_iter();
        let listeners = listeners.map(tokio::net::TcpListener::from_std);
        listeners.collect::<io::Result<Vec<_>>>()
    };
    let datagrams = |sockets: Vec<UdpSocket>| {
        let sockets = sockets.into_iter();
        let sockets = sockets.map(tokio::net::UdpSocket::from_std);
        sockets.collect::<io::Result<Vec<_>>>()
    };
    for listener in streams(sockets.metadata)? {
        tasks.spawn(accept(Arc::clone(site), listener, Protocol::Http));
    }
    for listener in streams(sockets.dns)? {
        tasks.spawn(accept(Arc::clone(site), listener, Protocol::Dns));
    }
    for socket in datagrams(sockets.dns_datagrams)? {
        tasks.spawn(resolver::answer_all(Arc::clone(site), socket));
    }
    for socket in datagrams(sockets.time)? {
        tasks.spawn(time::answer_all(socket));
    }
    let socket = tokio::net::UdpSocket::from_std(sockets.configuration)?;
    tasks.spawn(configuration::serve(Arc::clone(site), socket));
    Ok(tasks)
}

/// What is spoken in a connection.
#[derive(Debug, Clone, Copy)]
enum Protocol {
    Dns,
    Http,
}

/// Takes connections of instances.
async fn accept(site: Arc<Site>, listener: tokio::net::TcpListener, protocol: Protocol) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "a connection was not accepted");
                tokio::time::sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        // Finished ones are collected as new ones come, so that the set stays small.
        while connections.try_join_next().is_some() {}
        // Who is nobody, or has too many, is turned away.
        let Some(place) = site.place(peer.ip()) else {
            continue;
        };
        let site = Arc::clone(&site);
        connections.spawn(async move {
            match protocol {
                Protocol::Dns => resolver::converse(&site, stream, peer).await,
                Protocol::Http => http::converse(&site, stream, peer).await,
            }
            drop(place);
        });
    }
}

/// How long nothing is accepted when descriptors or memory are short.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use enid_model::id::InstanceId;

    use super::*;
    use crate::services::fixture::{scope, world};

    #[test]
    fn nobody_asks_from_an_address_that_changes_hands() {
        let before = Arc::new(world().state());
        let mut moved = world();
        moved.eni(1, |eni| {
            let attachment = eni.attachment.as_mut().expect("attached");
            attachment.instance = InstanceId(2);
        });
        let after = Arc::new(moved.state());
        let asker = |wanted: &Arc<State>, in_force: &Arc<State>, address: &str| {
            let views = Views {
                wanted: Arc::clone(wanted),
                in_force: Arc::clone(in_force),
                failing: Arc::default(),
            };
            let address = address.parse().expect("an address");
            let asker = views.asker(&scope(), VpcId(1), address);
            asker.and_then(|asker| Some(asker.instance()?.id.0))
        };
        assert_eq!(asker(&before, &before, "10.0.1.5"), Some(1));
        assert_eq!(asker(&after, &before, "10.0.1.5"), None);
        assert_eq!(asker(&after, &after, "10.0.1.5"), Some(2));
        // Everybody else is answered meanwhile.
        assert_eq!(asker(&after, &before, "10.0.2.5"), Some(1));
    }
}
