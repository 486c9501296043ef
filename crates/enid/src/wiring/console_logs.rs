//! What instances of this host write to their consoles goes to the log group `/enid/console`, a
//! stream per instance, a line an event.
//!
//! How far each console has been read is kept in the telemetry store and written together with the
//! lines, so that no line is there twice.
// Limit: what an instance writes in its last second may be missing when it is terminated, since its
// console goes with it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use enid_host::console::{self, Part};
use enid_host::sandbox::Sandbox;
use enid_model::id::InstanceId;
use enid_model::key::Scope;
use enid_model::time::{Clock as _, SystemClock};
use enid_telemetry::flow::sink::{LogDelivery, LogSink};
use enid_telemetry::store::Store;

use crate::paths::DataDir;

/// The group.
pub(crate) const GROUP: &str = "/enid/console";

/// Follows the consoles of a data directory's instances.
pub(crate) struct ConsoleLogs {
    data: DataDir,
    regions: enid_store::Store,
    telemetry: Store,
    sink: Arc<dyn LogSink>,
    followed: BTreeMap<InstanceId, Followed>,
}

#[derive(Default)]
struct Followed {
    /// Up to here, lines have been logged.
    place: u64,
    /// The bytes of a line that had no end when they were read.
    unended: usize,
}

impl ConsoleLogs {
    pub(crate) fn new(
        data: &DataDir,
        regions: enid_store::Store,
        telemetry: Store,
        sink: Arc<dyn LogSink>,
    ) -> anyhow::Result<Self> {
        let notes = telemetry
            .notes(OWNER)
            .context("read how far consoles were logged")?;
        let places: BTreeMap<String, u64> = notes
            .last()
            .and_then(|note| serde_json::from_slice(note).ok())
            .unwrap_or_default();
        let followed = places.into_iter().filter_map(|(id, place)| {
            let unended = 0;
            Some((id.parse().ok()?, Followed { place, unended }))
        });
        Ok(Self {
            data: data.clone(),
            regions,
            telemetry,
            sink,
            followed: followed.collect(),
        })
    }

    /// Follows them until the daemon ends.
    pub(crate) async fn run(mut self) {
        let mut ticks = tokio::time::interval(EVERY);
        loop {
            ticks.tick().await;
            let looked = tokio::task::spawn_blocking(move || {
                self.look();
                self
            });
            match looked.await {
                Ok(same) => self = same,
                Err(error) => {
                    tracing::error!(%error, "consoles are not followed any more");
                    return;
                }
            }
        }
    }

    /// Logs what is new.
    fn look(&mut self) {
        let state = self.regions.state();
        let mut there = BTreeMap::new();
        for (scope, region) in state.regions() {
            there.extend(region.instances.keys().map(|id| (*id, scope.clone())));
        }
        self.followed.retain(|id, _| there.contains_key(id));
        for (id, scope) in there {
            self.follow(id, &scope);
        }
    }

    fn follow(&mut self, id: InstanceId, scope: &Scope) {
        let sandbox = Sandbox::of(self.data.path(), id);
        let place = self.followed.get(&id).map_or(0, |it| it.place);
        let part = match console::read_from(sandbox.dir(), place) {
            Ok(part) if !part.bytes.is_empty() => part,
            Ok(_) => return,
            Err(error) => {
                tracing::debug!(instance = %id, %error, "a console cannot be read");
                return;
            }
        };
        let followed = self.followed.entry(id).or_default();
        // A line is logged when it ends, or does not go on, or is longer than a console is kept.
        let is_all =
            part.bytes.len() == followed.unended || part.bytes.len() as u64 >= console::KEPT;
        let (lines, length) = lines(&part, is_all);
        followed.unended = part.bytes.len() - length;
        let before = followed.place;
        followed.place = part.start + length as u64;
        if length == 0 {
            return;
        }
        let now = SystemClock.now();
        let delivery = LogDelivery {
            account: scope.account,
            region: scope.region.clone(),
            group: GROUP.to_owned(),
            stream: id.to_string(),
            events: lines.into_iter().map(|line| (now, line)).collect(),
        };
        if !self.log(&delivery)
            && let Some(followed) = self.followed.get_mut(&id)
        {
            followed.place = before;
        }
    }

    /// Whether it was logged.
    fn log(&self, delivery: &LogDelivery) -> bool {
        if delivery.events.is_empty() {
            return true;
        }
        let Ok(write) = self.sink.prepare(delivery) else {
            return false;
        };
        let places = self
            .followed
            .iter()
            .map(|(id, it)| (id.to_string(), it.place));
        let places: BTreeMap<String, u64> = places.collect();
        let note = serde_json::to_vec(&places).unwrap_or_default();
        match self.telemetry.append(write.note(OWNER, true, note)) {
            Ok(_) => {
                self.sink.stored(delivery);
                true
            }
            Err(error) => {
                tracing::warn!(%error, "a console was not logged");
                false
            }
        }
    }
}

/// The lines of a part that have an end, or all of them; and how many bytes they are of.
fn lines(part: &Part, is_all: bool) -> (Vec<String>, usize) {
    let end = part.bytes.iter().rposition(|byte| *byte == b'\n');
    let length = match end {
        _ if is_all => part.bytes.len(),
        Some(end) => end + 1,
        None => 0,
    };
    let whole = String::from_utf8_lossy(&part.bytes[..length]);
    let lines = whole.lines().map(|line| line.trim_end_matches('\r'));
    // An event has a message.
    let lines = lines.filter(|line| !line.is_empty()).map(str::to_owned);
    (lines.collect(), length)
}

/// Whose notes in the store tell how far consoles have been read.
const OWNER: &str = "console";
const EVERY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_logged_when_they_end() {
        let part = |text: &str| Part {
            start: 7,
            bytes: text.as_bytes().to_vec(),
        };
        let owned = |texts: &[&str]| -> Vec<String> {
            texts.iter().map(|text| (*text).to_owned()).collect()
        };
        for (text, is_all, expected, length) in [
            ("", false, &[][..], 0),
            ("a", false, &[], 0),
            ("a", true, &["a"], 1),
            ("a\r\n\nb\nc", false, &["a", "b"], 6),
            ("a\nb", true, &["a", "b"], 3),
        ] {
            let (found, bytes) = lines(&part(text), is_all);
            assert_eq!((found, bytes), (owned(expected), length), "{text:?}");
        }
    }
}
