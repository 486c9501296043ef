//! The link-local services: metadata, DNS, DHCP, time and the router's advertisements.
//!
//! The agent makes a [`site`] for each VPC that has a device on this host, and hands its sockets to the one
//! thread that serves all of them ([`Services`]): what instances ask can delay other instances' answers, but
//! neither the API nor a change of the tables. Who asks is known by the VPC and the address that it asks
//! from, which the datapath has checked; what it is told is a function of the latest state. A state is known
//! here before it is acknowledged.

pub mod asker;
mod configuration;
mod dhcp;
mod dhcp_v6;
pub mod dns;
#[cfg(test)]
mod fixture;
mod forward;
mod frame;
mod http;
pub mod imds;
mod packet_socket;
mod places;
mod resolver;
mod router;
mod server;
mod shares;
pub mod site;
mod sockets;
mod time;
mod told;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use enid_model::id::VpcId;
use enid_model::key::Scope;
use enid_model::state::State;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::watch;

use self::forward::Forwarder;
use self::imds::Imds;
use self::server::{Command, Shared, Views, serve};
pub use self::sockets::Sockets;

/// The thread that serves all sites. It ends when this is dropped, and its sockets close.
#[derive(Debug)]
pub struct Services {
    commands: Option<UnboundedSender<Command>>,
    views: watch::Sender<Views>,
    thread: Option<JoinHandle<()>>,
}

impl Services {
    /// Starts the thread; there is nothing to serve yet. What the resolver does not know is asked of those
    /// that the host itself asks.
    pub fn start(state: Arc<State>, imds: Imds) -> io::Result<Self> {
        let (commands, received) = unbounded_channel();
        let (views, seen) = watch::channel(Views {
            wanted: Arc::clone(&state),
            in_force: state,
            failing: Arc::default(),
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let shared = Shared {
            imds,
            forwarder: Forwarder::new(Path::new(RESOLV_CONF)),
        };
        let thread = std::thread::Builder::new()
            .name("services".to_owned())
            .spawn(move || runtime.block_on(serve(received, seen, shared)))?;
        Ok(Self {
            commands: Some(commands),
            views,
            thread: Some(thread),
        })
    }

    /// From now on answers are of this state, to those whom it and what is in force both know at their
    /// address.
    pub fn follow(&self, state: Arc<State>) {
        self.views.send_modify(|views| views.wanted = state);
    }

    /// The kernel's tables hold what was last followed.
    pub fn in_force(&self) {
        let settle = |views: &mut Views| views.in_force = Arc::clone(&views.wanted);
        self.views.send_modify(settle);
    }

    /// From now on an injected fault stops these zones, and no others.
    pub fn set_failing(&self, zones: Vec<String>) {
        self.views.send_modify(|views| views.failing = zones.into());
    }

    /// Serves the instances of a VPC at these sockets.
    pub fn open(&self, scope: Scope, vpc: VpcId, sockets: Sockets) {
        self.say(Command::Open(Box::new((scope, vpc, sockets))));
    }

    /// Closes the sockets of a VPC.
    pub fn close(&self, vpc: VpcId) {
        self.say(Command::Close(vpc));
    }

    fn say(&self, command: Command) {
        // The thread ends after this does, unless it panicked, and then it says so itself.
        if let Some(commands) = &self.commands {
            let _ = commands.send(command);
        }
    }
}

/// Where the host says which resolvers it asks.
const RESOLV_CONF: &str = "/etc/resolv.conf";

impl Drop for Services {
    fn drop(&mut self) {
        self.commands = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of the link-local services panicked");
        }
    }
}
