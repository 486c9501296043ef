//! What the services' thread does: tasks for the sockets of each VPC.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use enid_model::id::{EniId, VpcId};
use enid_model::key::Scope;
use enid_model::state::{RegionState, State};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::places::Places;
use super::sockets::Sockets;
use super::{configuration, http, time};

/// What the thread is told.
#[derive(Debug)]
pub(super) enum Command {
    /// Close the sockets of a VPC.
    Close(VpcId),
    /// Serve a VPC at these sockets.
    Open(Box<(Scope, VpcId, Sockets)>),
}

/// One VPC's services.
#[derive(Debug)]
pub(super) struct Site {
    scope: Scope,
    pub(super) vpc: VpcId,
    state: watch::Receiver<Arc<State>>,
    /// Room for connections.
    pub(super) places: Places,
}

impl Site {
    /// The state of the moment.
    pub(super) fn state(&self) -> Arc<State> {
        Arc::clone(&self.state.borrow())
    }

    /// What there is in the region now, if there is anything.
    pub(super) fn with_region<T>(&self, look: impl FnOnce(&RegionState) -> T) -> Option<T> {
        self.state().region(&self.scope).map(|region| look(region))
    }

    /// The interface that asks from an address.
    pub(super) fn asker(&self, state: &State, address: IpAddr) -> Option<EniId> {
        let region = state.region(&self.scope)?;
        let IpAddr::V4(address) = address else { return None };
        let mut enis = region.network_interfaces.values();
        enis.find(|eni| eni.vpc == self.vpc && eni.addresses.contains(&address))
            .map(|eni| eni.id)
    }
}

/// Works until nobody can say anything any more.
pub(super) async fn serve(
    mut commands: UnboundedReceiver<Command>,
    state: watch::Receiver<Arc<State>>,
) {
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
                    state: state.clone(),
                    places: Places::default(),
                };
                match begin(Arc::new(site), sockets) {
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
fn begin(site: Arc<Site>, sockets: Sockets) -> io::Result<JoinSet<()>> {
    let mut tasks = JoinSet::new();
    for listener in sockets.metadata {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        tasks.spawn(accept(Arc::clone(&site), listener));
    }
    for socket in sockets.time {
        let socket = tokio::net::UdpSocket::from_std(socket)?;
        tasks.spawn(time::answer_all(socket));
    }
    let socket = tokio::net::UdpSocket::from_std(sockets.configuration)?;
    tasks.spawn(configuration::serve(site, socket));
    Ok(tasks)
}

/// Takes connections of instances.
async fn accept(site: Arc<Site>, listener: tokio::net::TcpListener) {
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
        let Some(eni) = site.asker(&site.state(), peer.ip()) else {
            continue;
        };
        let Some(place) = site.places.take(eni) else {
            continue;
        };
        let site = Arc::clone(&site);
        connections.spawn(async move {
            http::converse(&site, stream, peer).await;
            drop(place);
        });
    }
}

/// How long nothing is accepted when descriptors or memory are short.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
