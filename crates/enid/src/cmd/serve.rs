//! `enid serve`: the daemon.

use std::io::IsTerminal as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context as _;
use enid_api::acm::Acm;
use enid_api::ec2::Ec2;
use enid_api::elbv2::Elbv2;
use enid_api::front::{self, FrontDoor};
use enid_api::logs::Logs;
use enid_api::monitoring::Monitoring;
use enid_api::sigv4::{Key, Keys};
use enid_api::sns::Sns;
use enid_api::sts::Sts;
use enid_control::{Control, PublicPools};
use enid_host::flow_observer::FlowObserver;
use enid_host::{Installation, doctor, loader};
use enid_model::time::SystemClock;
use enid_store::Store;
use enid_telemetry::bucket::endpoint::Endpoints;
use enid_telemetry::flow::sink::LogSink;
use enid_telemetry::log::sink::ServiceLogs;
use enid_telemetry::source::Source;
use rand::Rng as _;
use rustix::process::{Resource, Rlimit};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::cli::{Common, DatapathChoice, Serve};
use crate::config::Config;
use crate::keys::KeyRing;
use crate::paths::{Daemon, DataDir};
use crate::wiring::access_logs::AccessLogs;
use crate::wiring::address_usage::{self, AddressUsage};
use crate::wiring::admin::Administration;
use crate::wiring::certificates;
use crate::wiring::console::HostConsole;
use crate::wiring::console_logs::ConsoleLogs;
use crate::wiring::drain;
use crate::wiring::flow_logs::FlowLogs;
use crate::wiring::host::{self, Host};
use crate::wiring::log_groups::LogGroups;
use crate::wiring::metrics::Meters;
use crate::wiring::metrics::daemon::Own;
use crate::wiring::metrics::interfaces::Interfaces;
use crate::wiring::metrics::load_balancers::LoadBalancers;
use crate::wiring::metrics::nat_gateways::NatGateways;
use crate::wiring::metrics::status_checks::StatusChecks;
use crate::wiring::socket::AgentSocket;
use crate::wiring::targets;
use crate::wiring::telemetry::Telemetry;
use crate::wiring::{alarm_actions, alarms};

pub(crate) fn run(common: &Common, serve: &Serve) -> anyhow::Result<ExitCode> {
    logs();
    raise_descriptor_limit();
    small_pages();
    let config = Config::read(serve.config.as_deref())?;
    anyhow::ensure!(
        serve.listen.ip().is_loopback(),
        "--listen {}: beyond loopback Enid needs TLS, which this version does not have",
        serve.listen
    );
    let data = common.data_dir()?;
    data.create()?;
    let Some(_lock) = data.lock()? else {
        anyhow::bail!(
            "another daemon uses {} (see enid down)",
            data.path().display()
        );
    };
    // What a daemon that crashed said of itself: its process number may be another's by now.
    data.forget_daemon();
    // The telemetry store blocks when it is opened and closed, so its last handle is dropped here,
    // after the runtime whose tasks have others.
    let telemetry = OnceLock::new();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    runtime.block_on(daemon(common, serve, &config, &data, &telemetry))
}

async fn daemon(
    common: &Common,
    serve: &Serve,
    config: &Config,
    data: &DataDir,
    telemetry: &OnceLock<Telemetry>,
) -> anyhow::Result<ExitCode> {
    let listener = TcpListener::bind(serve.listen)
        .await
        .with_context(|| format!("listen on {}", serve.listen))?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    let own = if serve.ephemeral {
        data.ephemeral()
    } else {
        data.clone()
    };
    own.create()?;
    let store = open_store(serve, &own)?;
    let enforced = enforce(serve.datapath)?;
    if serve.ephemeral {
        // What an earlier daemon of this kind left is of no use to anybody.
        clean(&own);
    }
    bring_up_to_date(&store).await?;
    let gateway = match enforced {
        true => Some(host::gateway(&own, config)?),
        false => None,
    };
    let pools = match &gateway {
        Some(gateway) => PublicPools {
            ipv4: gateway.pools.ipv4,
            ipv6: gateway.pools.ipv6,
            ..config.outside.pools()
        },
        None => config.outside.pools(),
    };
    let opened = {
        let (own, is_ephemeral, store) = (own.clone(), serve.ephemeral, store.clone());
        let notify = config.notify.notifications(&own, listener.local_addr()?)?;
        let open = move || Telemetry::open(&own, is_ephemeral, &store, notify);
        tokio::task::spawn_blocking(open)
            .await
            .context("open the telemetry")??
    };
    let telemetry = telemetry.get_or_init(|| opened);
    let control = Control::new(store.clone(), Arc::new(SystemClock), rand::make_rng())
        .with_pools(pools.clone())
        .with_quotas(config.quotas()?)
        .with_images(config.images.into())
        .with_log_groups();
    let control = Arc::new(control);
    certificates::import(&control, &config.certificates).await?;
    certificates::follow(&control, config.certificates.clone());
    let groups = LogGroups::new(Arc::clone(&control), tokio::runtime::Handle::current());
    let service_logs = Arc::new(ServiceLogs::new(
        Arc::clone(&telemetry.logs),
        Arc::new(groups),
    ));
    let mut flow_logs = None;
    let mut file_options = None;
    let mut observer: Option<Box<dyn FlowObserver>> = None;
    if gateway.is_some() {
        let mut options = config.flow_logs.options(own.path())?;
        let endpoints = config.flow_logs.endpoints()?;
        if !endpoints.is_empty() {
            let runtime = tokio::runtime::Handle::current();
            let endpoints = Endpoints::new(endpoints, runtime);
            let endpoints = endpoints.context("prepare the S3 endpoints of flow logs")?;
            options.buckets.endpoints = Some(Arc::new(endpoints));
        }
        file_options = Some((options.buckets.clone(), options.file_ms));
        let sink: Option<Arc<dyn LogSink>> = Some(Arc::clone(&service_logs) as _);
        let (started, observing) = FlowLogs::start(&telemetry.store, &store, options, sink)?;
        (flow_logs, observer) = (Some(started), Some(observing));
    }
    let host = match gateway {
        Some(gateway) => Some(Host::start(
            &own,
            config,
            serve.attach.into(),
            &store,
            gateway,
            config.allowances(serve.enforce_allowances)?,
            observer,
        )?),
        None => None,
    };
    let mut access_logs = None;
    if let (Some(host), Some((buckets, file_ms))) = (&host, file_options) {
        let records = host.proxy_reports().records;
        access_logs = Some(AccessLogs::start(&store, records, buckets, file_ms)?);
    }
    if let Some(host) = &host {
        host.report_exits(&control);
        host.report_health(&control);
    }
    let mut ec2 = Ec2::new(Arc::clone(&control));
    let mut elbv2 = Elbv2::new(Arc::clone(&control));
    if host.is_some() {
        ec2 = ec2.with_console(Arc::new(HostConsole::new(&own)));
    }
    if let Some(flow_logs) = &flow_logs {
        ec2 = ec2.with_deliveries(flow_logs.deliveries());
        elbv2 = elbv2.with_deliveries(flow_logs.deliveries());
    }
    let keys = KeyRing::open(data.keys())?;
    let _socket = match &host {
        Some(host) => Some(AgentSocket::open(&data.socket(), host.inquiry())?),
        None => None,
    };
    let every_ms = config.metrics.every_ms()?;
    let meters = open_meters(telemetry, &store, &own, host.as_ref(), serve, every_ms).await?;
    let publishing = meters.start()?;
    let admin = Administration::new(
        &store,
        telemetry,
        &meters,
        host.as_ref(),
        &pools,
        serve.ephemeral,
    );
    tokio::spawn(telemetry.clone().tend());
    if host.is_some() {
        let rows = telemetry.store.clone();
        let consoles = ConsoleLogs::new(&own, store.clone(), rows, service_logs)?;
        tokio::spawn(consoles.run());
    }
    let logs = Logs::new(
        Arc::clone(&control),
        Arc::clone(&telemetry.logs),
        Arc::clone(&telemetry.queries),
        telemetry.subscriptions.clone(),
    );
    let mut front = FrontDoor::new(
        front::Config {
            keys: Arc::new(RingKeys(keys)),
            clock: Arc::new(SystemClock),
            admin: Arc::new(admin),
            enforced,
            request_id_seed: rand::make_rng::<rand::rngs::StdRng>().next_u64(),
        },
        ec2,
        Sts,
    )
    .with_acm(Acm::new(Arc::clone(&control)))
    .with_elbv2(elbv2)
    .with_logs(logs)
    .with_sns(Sns::new(Arc::clone(&control), telemetry.notify.clone()))
    .with_monitoring(Monitoring::new(
        Arc::clone(&control),
        Arc::clone(&telemetry.metrics),
    ));
    if let Some(throttle) = config.throttle()? {
        front = front.with_throttle(throttle);
    }
    data.write_daemon(&Daemon {
        pid: std::process::id().try_into()?,
        endpoint: endpoint.clone(),
        ephemeral: serve.ephemeral,
    })?;
    // Whoever reads the line below may end the daemon at once.
    let terminate = signal(SignalKind::terminate()).context("wait for SIGTERM")?;
    let interrupt = signal(SignalKind::interrupt()).context("wait for SIGINT")?;
    let listening = Listening {
        endpoint,
        enforced,
        data: data.path(),
    };
    // Nobody need be there to read it.
    let _ = common
        .printer()
        .print(&listening, |listening| listening.words(data.is_default()));
    sweep_now_and_then(Arc::clone(&control));
    let notifying = tokio::spawn(telemetry.notify.clone().run());
    let installation = host.as_ref().map(|_| Installation::of(own.path()));
    drain::release_in_time(Arc::clone(&control), installation);
    targets::forget_in_time(Arc::clone(&control));
    address_usage::publish(&store, &telemetry.metrics);
    alarms::watch(&control, &telemetry.metrics, &meters);
    alarm_actions::carry_out(&control, &telemetry.notify);

    let (stop, stopping) = watch::channel(false);
    let server = tokio::spawn(enid_api::server::serve(listener, Arc::new(front), stopping));
    let outcome = until_told(&store, terminate, interrupt).await;
    stop.send_replace(true);
    // The server finishes what is under way; that it panicked is a failure of its own.
    server.await.context("the server failed")?;
    // What is under way is tried again by the next daemon.
    notifying.abort();
    data.forget_daemon();
    publishing.stop();
    if let Some(host) = host {
        host.stop();
    }
    if let Some(access_logs) = access_logs {
        access_logs.stop();
    }
    if let Some(flow_logs) = flow_logs {
        flow_logs.stop();
    }
    store.close().await;
    if serve.ephemeral {
        clean(&own);
    }
    outcome
}

/// What the daemon says when it is ready.
#[derive(Serialize)]
struct Listening<'a> {
    endpoint: String,
    enforced: bool,
    data: &'a Path,
}

impl Listening<'_> {
    fn words(&self, is_default: bool) -> String {
        let enforced = if self.enforced {
            "packets are enforced"
        } else {
            "nothing is enforced: no datapath"
        };
        let data = if is_default {
            String::new()
        } else {
            format!(" --data {}", self.data.display())
        };
        let endpoint = &self.endpoint;
        format!("enid listens on {endpoint} ({enforced}); for clients: eval \"$(enid env{data})\"")
    }
}

/// How often what is kept for a time only is removed.
const SWEEP_EVERY: Duration = Duration::from_secs(600);

fn sweep_now_and_then(control: Arc<Control>) {
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(SWEEP_EVERY);
        loop {
            ticks.tick().await;
            for caller in host::owners(&control.store().state()) {
                if let Err(error) = control.sweep(&caller).await {
                    tracing::warn!(%error, "what is over was not removed");
                }
            }
        }
    });
}

/// Asks the kernel for small pages: the allocator's arenas are wide and thinly used, and with huge ones an idle
/// daemon holds twice as much (`bench/run.py --only api`). Sandboxes undo it for what runs in them.
fn small_pages() {
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "huge pages stay on");
    }
}

/// Each instance takes a descriptor to be watched, each connection one: the usual soft limit of
/// 1,024 is soon reached.
fn raise_descriptor_limit() {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = rustix::process::setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit on open files could not be raised");
    }
}

/// Waits for a signal to end, or for the store to fail.
async fn until_told(
    store: &Store,
    mut terminate: Signal,
    mut interrupt: Signal,
) -> anyhow::Result<ExitCode> {
    let mut changes = store.watch();
    let failed = async { while changes.changed().await.is_ok() {} };
    tokio::select! {
        _ = terminate.recv() => Ok(ExitCode::SUCCESS),
        _ = interrupt.recv() => Ok(ExitCode::SUCCESS),
        () = failed => anyhow::bail!("the store failed; start again to recover what was answered"),
    }
}

/// What this host observes. Without a datapath that is the daemon only.
async fn open_meters(
    telemetry: &Telemetry,
    store: &Store,
    own: &DataDir,
    host: Option<&Host>,
    serve: &Serve,
    every_ms: i64,
) -> anyhow::Result<Arc<Meters>> {
    let mut sources: Vec<Box<dyn Source>> = vec![Box::new(AddressUsage::default())];
    if let Some(host) = host {
        let installation = Installation::of(own.path());
        let failed = |error| anyhow::anyhow!("open the counters: {}", enid_host::chain(&error));
        sources.push(Box::new(Interfaces::open(installation).map_err(failed)?));
        let proxies = host.proxy_reports().counts;
        let balancers = LoadBalancers::open(installation, proxies).map_err(failed)?;
        sources.push(Box::new(balancers));
        sources.push(Box::new(NatGateways::open(installation).map_err(failed)?));
        let (inquiry, hosts) = (host.inquiry(), store.hosts().clone());
        let checks = StatusChecks::new(inquiry, hosts, Arc::new(SystemClock));
        sources.push(Box::new(checks));
    }
    let file = (!serve.ephemeral).then(|| Store::file(own.path()));
    sources.push(Box::new(Own::new(telemetry, file, host.map(Host::work))));
    let (telemetry, store) = (telemetry.clone(), store.clone());
    let open = move || {
        let (rows, metrics) = (&telemetry.store, &telemetry.metrics);
        let clock = Arc::new(SystemClock);
        Meters::open(rows, metrics, &store, clock, every_ms, sources)
    };
    let opened = tokio::task::spawn_blocking(open).await;
    Ok(Arc::new(opened.context("open the metrics of this host")??))
}

fn open_store(serve: &Serve, own: &DataDir) -> anyhow::Result<Store> {
    let store = match serve.ephemeral {
        true => Store::in_memory(),
        false => Store::open(own.path()),
    };
    store.with_context(|| format!("open the store in {}", own.path().display()))
}

/// What an older version stored gets what it lacks, before the agent obeys it.
async fn bring_up_to_date(store: &Store) -> anyhow::Result<()> {
    let control = Control::new(store.clone(), Arc::new(SystemClock), rand::make_rng());
    for caller in host::owners(&store.state()) {
        let region = caller.region.name;
        let read = control.read(&caller).await;
        read.with_context(|| format!("bring the region {region} up to date"))?;
    }
    Ok(())
}

/// Whether this daemon enforces. With `auto`, a host that cannot is told what it lacks.
fn enforce(choice: DatapathChoice) -> anyhow::Result<bool> {
    if choice == DatapathChoice::None {
        return Ok(false);
    }
    let findings = doctor::examine();
    if doctor::is_fit(&findings) {
        return Ok(true);
    }
    let missing: Vec<String> = findings
        .iter()
        .filter(|finding| finding.state == doctor::State::Missing)
        .map(|finding| format!("{} ({})", finding.subject, finding.seen))
        .collect();
    let missing = missing.join(", ");
    anyhow::ensure!(
        choice == DatapathChoice::Auto,
        "this host cannot enforce, missing: {missing} (enid doctor tells more)"
    );
    eprintln!(
        "enid: nothing is enforced, missing on this host: {missing} (enid doctor tells more)"
    );
    Ok(false)
}

fn clean(own: &DataDir) {
    for error in enid_host::clean::everything(own.path()) {
        tracing::warn!(
            error = enid_host::chain(&error),
            "something was left on the host"
        );
    }
    if let Err(error) = loader::remove_pins(Installation::of(own.path())) {
        tracing::warn!(
            error = enid_host::chain(&error),
            "pins were left on the host"
        );
    }
}

/// Quiet by default: `ENID_LOG` takes the filters of tracing.
fn logs() {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_env("ENID_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}

struct RingKeys(KeyRing);

impl Keys for RingKeys {
    fn find(&self, access_key_id: &str, session_token: Option<&str>) -> Option<Key> {
        // Every key is permanent, and none of those comes with a session token.
        if session_token.is_some() {
            return None;
        }
        self.0.find(access_key_id)
    }
}
