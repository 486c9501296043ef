//! The command line: the contract that scripts rely on.
//!
//! Exit codes: 0 done, 1 failed, 2 usage; `exec` passes the command's own.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use enid_host::datapath::Attach;
use enid_model::id::{EniId, InstanceId};
use enid_model::key::AccountId;

use crate::cmd;
use crate::paths::DataDir;
use crate::printer::Printer;

/// VPC networking for Linux hosts, through the AWS API, with real packets.
#[derive(Debug, Parser)]
#[command(name = "enid", version, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct Common {
    /// The daemon's data directory [default: /var/lib/enid, or ~/.local/share/enid without root]
    #[arg(long, global = true, env = "ENID_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where the daemon answers [default: what the daemon of the data directory says]
    #[arg(long, global = true, env = "ENID_ENDPOINT", value_name = "URL")]
    endpoint: Option<String>,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Put the interfaces of an instance into a network namespace, such as a container's
    Adopt {
        /// The instance's id; its image is enid-netns
        instance: String,
        /// The namespace: a name of `ip netns`, or a path such as /proc/PID/ns/net
        #[arg(long, value_name = "NAME|PATH")]
        netns: PathBuf,
        /// What its first interface is called there; further ones count from it
        #[arg(long, default_value = "eth0", value_name = "NAME")]
        ifname: String,
    },
    /// Every packet of an interface, dropped ones too, with what became of it
    Capture(cmd::capture::Capture),
    /// Is the stored region consistent
    Check,
    /// What was counted at interfaces: packets, bytes, drops, allowances exceeded
    Counters {
        /// An interface's or an instance's id; all interfaces without one
        id: Option<String>,
    },
    /// Can this host run it, and what is missing
    Doctor,
    /// Remove every trace from this host
    Down,
    /// Print the exports for AWS clients: eval "$(enid env)"
    Env,
    /// Run a command inside an instance
    Exec {
        /// The instance's id
        instance: String,
        /// The command with its arguments
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// Does a packet pass, hop by hop, with the deciding rules
    Explain(cmd::explain::Question),
    /// Inject real faults into the datapath, and lift them
    Fault {
        #[command(subcommand)]
        command: cmd::fault::FaultCommand,
    },
    /// Live flows with verdicts, dropped ones too
    Flows {
        /// Go on printing what changes
        #[arg(long)]
        follow: bool,
        #[command(flatten)]
        wanted: FlowFilter,
    },
    /// Access keys
    Key {
        #[command(subcommand)]
        command: KeyCommand,
    },
    /// What NAT gateways have carried and refused
    Nat,
    /// Take the interfaces of an adopted instance out of its namespace
    Release {
        /// The instance's id
        instance: String,
    },
    /// Start the daemon
    Serve(Serve),
    /// The taps of an instance, for a virtual machine monitor's command line
    Tap {
        /// The instance's id; its image is enid-tap
        instance: String,
        /// Let this user open them, by number [default: as before, at first root]
        #[arg(long, value_name = "UID")]
        owner: Option<u32>,
        /// The group that the user has to be in as well, by number
        #[arg(long, value_name = "GID", requires = "owner")]
        group: Option<u32>,
    },
    /// The interfaces of this host by what they carry
    Top {
        /// Seconds between two looks
        #[arg(long, default_value_t = 2.0)]
        every: f64,
        /// End after so many looks
        #[arg(long)]
        count: Option<u64>,
        /// Interfaces that are shown
        #[arg(long, default_value_t = 20)]
        lines: usize,
    },
    /// Does the kernel hold what the store says
    Verify,
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    /// Make another access key
    Create {
        /// Whose: twelve digits
        #[arg(long, default_value_t = AccountId::DEFAULT)]
        account: AccountId,
        /// What it may do, in IAM's JSON policy language [default: everything in its account]
        #[arg(long, value_name = "FILE")]
        policy: Option<PathBuf>,
    },
}

/// Flags of `enid serve`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Serve {
    /// Where to listen; beyond loopback is refused in this version
    #[arg(long, default_value = crate::paths::DEFAULT_LISTEN, value_name = "ADDRESS:PORT")]
    pub(crate) listen: std::net::SocketAddr,
    /// Forget everything at the end, and answer POST /_enid/reset
    #[arg(long)]
    pub(crate) ephemeral: bool,
    /// Limit each instance to the bandwidth, packets and connections of its type
    #[arg(long)]
    pub(crate) enforce_allowances: bool,
    /// Whether packets are enforced: auto uses eBPF where the host can
    #[arg(long, value_enum, default_value_t = DatapathChoice::Auto)]
    pub(crate) datapath: DatapathChoice,
    /// How programs are put on devices: auto uses tcx where the kernel has it (6.6), else tc filters
    #[arg(long, env = "ENID_ATTACH", value_enum, default_value_t = AttachChoice::Auto)]
    pub(crate) attach: AttachChoice,
    /// A configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DatapathChoice {
    /// eBPF where the host can; else say what is missing and enforce nothing
    Auto,
    /// eBPF, or fail
    Ebpf,
    /// The whole API without devices
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AttachChoice {
    /// The best that the kernel has
    Auto,
    /// Filters of the traffic control, which every kernel has
    Tc,
    /// Pinned links
    Tcx,
}

impl From<AttachChoice> for Option<Attach> {
    fn from(choice: AttachChoice) -> Self {
        match choice {
            AttachChoice::Auto => None,
            AttachChoice::Tc => Some(Attach::Tc),
            AttachChoice::Tcx => Some(Attach::Tcx),
        }
    }
}

impl Common {
    pub(crate) fn data_dir(&self) -> anyhow::Result<DataDir> {
        DataDir::new(self.data.clone())
    }

    /// Whether the command was told which daemon to ask.
    pub(crate) fn names_endpoint(&self) -> bool {
        self.endpoint.is_some()
    }

    /// Where the daemon answers: as told, as it says itself, or by default.
    pub(crate) fn endpoint(&self) -> anyhow::Result<String> {
        if let Some(endpoint) = &self.endpoint {
            return Ok(endpoint.clone());
        }
        Ok(match self.data_dir()?.daemon() {
            Some(daemon) => daemon.endpoint,
            None => format!("http://{}", crate::paths::DEFAULT_LISTEN),
        })
    }

    pub(crate) fn printer(&self) -> Printer {
        Printer::new(self.json)
    }
}

/// Reads the command line and carries it out.
pub(crate) fn main() -> ExitCode {
    let Cli { common, command } = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are not failures; clap knows which stream each belongs to.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    let done = match command {
        Command::Adopt {
            instance,
            netns,
            ifname,
        } => cmd::adopt::run(&common, &instance, &netns, ifname),
        Command::Capture(wanted) => cmd::capture::run(&common, &wanted),
        Command::Check => cmd::check::run(&common),
        Command::Counters { id } => cmd::counters::run(&common, id.as_deref()),
        Command::Doctor => cmd::doctor::run(&common),
        Command::Down => cmd::down::run(&common),
        Command::Env => cmd::env::run(&common),
        Command::Exec { instance, command } => cmd::exec::run(&common, &instance, &command),
        Command::Explain(question) => cmd::explain::run(&common, &question),
        Command::Fault { command } => cmd::fault::run(&common, command),
        Command::Flows { follow, wanted } => cmd::flows::run(&common, follow, &wanted),
        Command::Key { command } => match command {
            KeyCommand::Create { account, policy } => {
                cmd::key::create(&common, account, policy.as_deref())
            }
        },
        Command::Nat => cmd::nat::run(&common),
        Command::Release { instance } => cmd::release::run(&common, &instance),
        Command::Serve(serve) => cmd::serve::run(&common, &serve),
        Command::Tap {
            instance,
            owner,
            group,
        } => cmd::tap::run(&common, &instance, owner, group),
        Command::Top {
            every,
            count,
            lines,
        } => cmd::top::run(&common, every, count, lines),
        Command::Verify => cmd::verify::run(&common),
    };
    done.unwrap_or_else(|error| {
        eprintln!("enid: {error:#}");
        ExitCode::FAILURE
    })
}

/// Which flows are shown: those of which everything that is said holds.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct FlowFilter {
    /// That an instance sends or gets
    #[arg(long)]
    pub(crate) instance: Option<InstanceId>,
    /// That a network interface sends or gets
    #[arg(long)]
    pub(crate) eni: Option<EniId>,
    /// From or to a port
    #[arg(long)]
    pub(crate) port: Option<u16>,
    /// With a verdict: forward or drop
    #[arg(long, value_parser = ["forward", "drop"])]
    pub(crate) verdict: Option<String>,
    /// Dropped for a reason, by its name
    #[arg(long)]
    pub(crate) reason: Option<String>,
    /// Through a load balancer, by its name
    #[arg(long, value_name = "NAME")]
    pub(crate) load_balancer: Option<String>,
    /// To targets of a target group, and their answers, by its name
    #[arg(long, value_name = "NAME")]
    pub(crate) target_group: Option<String>,
}
