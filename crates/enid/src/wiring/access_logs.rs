//! Access logs of load balancers: what TLS listeners' proxies have told of connections, in files of a few minutes
//! for each node, as AWS puts them into buckets.
//!
//! What was told waits in memory until its minutes are over, and is written when the daemon ends; a daemon that
//! crashes loses it. A file that could not be written is tried again, later and later, and is dropped when too
//! much waits: these logs are no complete account, with AWS as well.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use enid_host::proxy::{AccessRecords, Logged, NodePlace};
use enid_model::id::LoadBalancerId;
use enid_model::key::Scope;
use enid_model::load_balancer::AccessLogs as Logs;
use enid_model::state::{Revision, State};
use enid_model::time::{Clock as _, SystemClock, Timestamp};
use enid_store::Store;
use enid_telemetry::bucket::{BucketError, Buckets, Object};

/// How often is looked for what was told.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The most bytes of files that wait for their bucket.
const WAITING_BYTES_MAX: usize = 64 << 20;
/// The most bytes of rows, about, that wait for the end of their minutes: a node that has more gets several files.
const OPEN_BYTES_MAX: usize = 4 << 20;
/// From the first to the longest time between tries.
const WAIT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// The access logs of this host, at work.
pub(crate) struct AccessLogs {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl AccessLogs {
    /// Writes down from now on what is told, in files of so many milliseconds.
    pub(crate) fn start(
        store: &Store,
        records: AccessRecords,
        buckets: Buckets,
        file_ms: i64,
    ) -> anyhow::Result<Self> {
        let mut writer = Writer::new(buckets, file_ms);
        let state = store.state();
        writer.known = enabled(&state).map(|(own, ..)| own).collect();
        let (store, (stop, stopping)) = (store.clone(), channel::<()>());
        let work = move || {
            let mut revision = None;
            loop {
                let told = stopping.recv_timeout(LOOK_EVERY);
                let is_stopping = !matches!(told, Err(RecvTimeoutError::Timeout));
                let state = store.state();
                writer.follow(&state, &mut revision);
                writer.collect(&records);
                writer.close(SystemClock.now(), is_stopping);
                writer.put(is_stopping);
                if is_stopping {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("access-logs".to_owned());
        let thread = thread.spawn(work);
        let thread = thread.context("start the thread of access logs")?;
        Ok(Self { stop, thread })
    }

    /// Writes what is left. The proxies must have ended before.
    pub(crate) fn stop(self) {
        let Self { stop, thread } = self;
        drop(stop);
        if thread.join().is_err() {
            tracing::error!("the thread of access logs panicked");
        }
    }
}

/// Whose logs go where.
type Enabled = (Scope, LoadBalancerId, String, String);

/// A file's node, its bucket with the folder, and when its minutes are over.
type FileKey = (NodePlace, String, String, i64);

/// The load balancers that have access logs.
fn enabled(state: &State) -> impl Iterator<Item = (Enabled, &Logs, String)> {
    state.regions().iter().flat_map(|(scope, region)| {
        let balancers = region.load_balancers.values();
        let logged = balancers.filter(|own| own.attributes.access_logs.is_enabled);
        logged.map(|own| {
            let logs = &own.attributes.access_logs;
            let (bucket, prefix) = (logs.bucket.clone(), logs.prefix.clone());
            (
                (scope.clone(), own.id, bucket, prefix),
                logs,
                own.name.clone(),
            )
        })
    })
}

struct Writer {
    buckets: Buckets,
    file_ms: i64,
    /// Load balancers whose bucket has the file that says so.
    known: BTreeSet<Enabled>,
    /// Rows of minutes that are not over.
    open: BTreeMap<FileKey, (Arc<Logged>, String)>,
    /// Files for buckets, the oldest first.
    waiting: VecDeque<(String, Object)>,
    waiting_bytes: usize,
    /// Buckets that fail: when they are tried again.
    failing: BTreeMap<String, (Instant, Duration)>,
}

impl Writer {
    const fn new(buckets: Buckets, file_ms: i64) -> Self {
        Self {
            buckets,
            file_ms,
            known: BTreeSet::new(),
            open: BTreeMap::new(),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            failing: BTreeMap::new(),
        }
    }

    /// Puts the file into a bucket by which AWS says that it has begun.
    fn follow(&mut self, state: &State, revision: &mut Option<Revision>) {
        if revision.replace(state.revision) == Some(state.revision) {
            return;
        }
        let mut now = BTreeSet::new();
        for (own, logs, name) in enabled(state) {
            if !self.known.contains(&own) {
                let account = own.0.account;
                let folder = folder_of(logs);
                let (year, month, day, hour, minute, second) = SystemClock.now().civil();
                let text = format!(
                    "Enable AccessLog for ELB: {name} at \
                     {year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z\n"
                );
                let object = Object {
                    path: format!("{folder}AWSLogs/{account}/ELBAccessLogTestFile"),
                    bytes: text.into_bytes(),
                };
                self.add(logs.bucket.clone(), object);
            }
            now.insert(own);
        }
        self.known = now;
    }

    /// Takes what was told.
    fn collect(&mut self, records: &AccessRecords) {
        let (told, lost) = records.take();
        if lost > 0 {
            tracing::warn!(
                lost,
                "connections are not in the access logs, too many waited"
            );
        }
        for record in told {
            let logged = &record.logged;
            let ends = (record.ended.0.div_euclid(self.file_ms) + 1) * self.file_ms;
            let (bucket, prefix) = (logged.logs.bucket.clone(), logged.logs.prefix.clone());
            let key = (logged.place.clone(), bucket, prefix, ends);
            let file = self.open.entry(key);
            let (_, text) = file.or_insert_with(|| (Arc::clone(logged), String::new()));
            text.push_str(&record.to_string());
            text.push('\n');
        }
    }

    /// Makes files of minutes that are over, of as many rows as a file has, or of all.
    fn close(&mut self, now: Timestamp, is_all: bool) {
        // What ended at the last moment is told a little later.
        let over = self.open.extract_if(.., |key, (_, text)| {
            is_all || key.3 + LATE_MS <= now.0 || text.len() > OPEN_BYTES_MAX
        });
        let over: Vec<_> = over.collect();
        for ((_, bucket, _, ends), (logged, text)) in over {
            match Object::of_text(path(&logged, Timestamp(ends)), &text) {
                Ok(object) => self.add(bucket, object),
                Err(error) => tracing::error!(%error, "an access log is lost"),
            }
        }
    }

    fn add(&mut self, bucket: String, object: Object) {
        self.waiting_bytes += object.bytes.len();
        self.waiting.push_back((bucket, object));
        while self.waiting_bytes > WAITING_BYTES_MAX
            && let Some((bucket, object)) = self.waiting.pop_front()
        {
            self.waiting_bytes -= object.bytes.len();
            tracing::warn!(
                bucket,
                path = object.path,
                "an access log is dropped, too much waits"
            );
        }
    }

    /// Puts what waits into its buckets. The last time directories that fail are tried once more; an endpoint that does
    /// holds up nobody's end.
    fn put(&mut self, is_last: bool) {
        for (bucket, object) in std::mem::take(&mut self.waiting) {
            let failing = self.failing.get(&bucket);
            let is_tried = is_last && self.buckets.endpoint(&bucket).is_none();
            let must_wait = failing.is_some_and(|(until, _)| !is_tried && Instant::now() < *until);
            let done = match must_wait {
                true => None,
                false => Some(self.buckets.put(&bucket, &object)),
            };
            match done {
                Some(Ok(())) => {
                    self.waiting_bytes -= object.bytes.len();
                    self.failing.remove(&bucket);
                    continue;
                }
                Some(Err(error)) => self.fails(&bucket, &error),
                None => {}
            }
            self.waiting.push_back((bucket, object));
        }
    }

    fn fails(&mut self, bucket: &str, error: &BucketError) {
        let (first, longest) = WAIT;
        let known = self.failing.get(bucket);
        let wait = known.map_or(first, |(_, wait)| (*wait * 2).min(longest));
        if known.is_none() {
            let error = enid_host::chain(error);
            tracing::warn!(
                bucket,
                error,
                "access logs are not delivered, it is tried again"
            );
        }
        let until = Instant::now() + wait;
        self.failing.insert(bucket.to_owned(), (until, wait));
    }
}

/// How much later than its end a connection is told of at most.
const LATE_MS: i64 = 1_000;

fn folder_of(logs: &Logs) -> String {
    match &*logs.prefix {
        "" => String::new(),
        prefix => format!("{prefix}/"),
    }
}

/// Where a file is in its bucket. Network Load Balancers, "Access log files".
fn path(logged: &Logged, ends: Timestamp) -> String {
    let Logged { place, path, logs } = logged;
    let (account, region) = (place.scope.account, &place.scope.region);
    let (year, month, day, hour, minute, _) = ends.civil();
    let balancer = path.replace('/', ".");
    let folder = folder_of(logs);
    format!(
        "{folder}AWSLogs/{account}/elasticloadbalancing/{region}/{year:04}/{month:02}/{day:02}/\
         {account}_elasticloadbalancing_{region}_{balancer}_\
         {year:04}{month:02}{day:02}T{hour:02}{minute:02}Z_{}.log.gz",
        random_word()
    )
}

/// Eight letters and digits: the files of several nodes, and of one that began anew, have the same name but for them.
fn random_word() -> String {
    const LETTERS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let bytes: [u8; 8] = rand::random();
    bytes
        .iter()
        .map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()]))
        .collect()
}

#[cfg(test)]
mod tests {
    use enid_model::key::{AccountId, RegionName};

    use super::*;

    fn logged(prefix: &str) -> Logged {
        let scope = Scope {
            account: AccountId::DEFAULT,
            region: RegionName::new("us-east-2"),
        };
        Logged {
            place: NodePlace {
                scope,
                balancer: LoadBalancerId(7),
                zone: "us-east-2a".to_owned(),
            },
            path: "net/web/0123456789abcdef".to_owned(),
            logs: Logs {
                is_enabled: true,
                bucket: "of-mine".to_owned(),
                prefix: prefix.to_owned(),
            },
        }
    }

    #[test]
    fn files_are_where_aws_puts_them() {
        // 2018-06-20 16:20.
        let at = Timestamp(1_529_511_600_000);
        let start = "AWSLogs/123456789012/elasticloadbalancing/us-east-2/2018/06/20/\
                     123456789012_elasticloadbalancing_us-east-2_net.web.0123456789abcdef_20180620T1620Z_";
        let name = path(&logged(""), at);
        assert!(
            name.starts_with(start) && name.ends_with(".log.gz"),
            "{name}"
        );
        assert_eq!(name.len(), start.len() + 8 + ".log.gz".len());
        assert!(path(&logged("a/b"), at).starts_with(&format!("a/b/{start}")));
        assert_ne!(path(&logged(""), at), path(&logged(""), at));
    }

    #[test]
    fn a_file_ends_with_its_minutes_or_when_it_is_long() {
        let root = tempfile::tempdir().expect("a directory");
        let buckets = Buckets {
            directory: root.path().to_owned(),
            endpoints: None,
        };
        let mut writer = Writer::new(buckets, 300_000);
        let open = |writer: &mut Writer, length| {
            let own = Arc::new(logged(""));
            let key = (
                own.place.clone(),
                own.logs.bucket.clone(),
                String::new(),
                300_000,
            );
            writer.open.insert(key, (own, "x".repeat(length)));
        };
        let late = Timestamp(300_000 + LATE_MS);
        open(&mut writer, 9);
        writer.close(Timestamp(late.0 - 1), false);
        assert_eq!((writer.open.len(), writer.waiting.len()), (1, 0));
        writer.close(late, false);
        assert_eq!((writer.open.len(), writer.waiting.len()), (0, 1));
        open(&mut writer, OPEN_BYTES_MAX + 1);
        writer.close(Timestamp(0), false);
        assert_eq!((writer.open.len(), writer.waiting.len()), (0, 2));
        open(&mut writer, 9);
        writer.close(Timestamp(0), true);
        assert_eq!((writer.open.len(), writer.waiting.len()), (0, 3));
    }

    #[test]
    fn what_cannot_be_written_waits_until_it_can_or_is_too_much() {
        let root = tempfile::tempdir().expect("a directory");
        let buckets = Buckets {
            directory: root.path().to_owned(),
            endpoints: None,
        };
        let mut writer = Writer::new(buckets, 300_000);
        // A file is where the bucket is to be.
        std::fs::write(root.path().join("bad"), "").expect("a file");
        let object = |path: &str, length| Object {
            path: path.to_owned(),
            bytes: vec![0; length],
        };
        writer.add("bad".to_owned(), object("first", 1));
        writer.add("good".to_owned(), object("second", 2));
        writer.put(false);
        assert!(root.path().join("good/second").exists());
        assert_eq!((writer.waiting.len(), writer.waiting_bytes), (1, 1));
        std::fs::remove_file(root.path().join("bad")).expect("it is gone");
        // Not yet: it has just failed.
        writer.put(false);
        assert_eq!(writer.waiting.len(), 1);
        writer.put(true);
        assert!(root.path().join("bad/first").exists());
        assert_eq!((writer.waiting.len(), writer.waiting_bytes), (0, 0));
        writer.add("bad".to_owned(), object("old", WAITING_BYTES_MAX));
        writer.add("bad".to_owned(), object("new", 1));
        assert_eq!((writer.waiting.len(), writer.waiting_bytes), (1, 1));
    }
}
