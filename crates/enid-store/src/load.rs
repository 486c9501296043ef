//! Reading a store when it is opened.
//!
//! Rows are read, parsed and put into the state by a thread each, a part at a time: a region of
//! 100,000 interfaces starts about twice as soon, and its rows are never all in memory.

use std::collections::BTreeMap;
use std::sync::mpsc::sync_channel;
use std::thread;

use enid_model::key::Key;
use enid_model::record::Record;
use enid_model::state::{Revision, State};

use crate::{OpenError, Row, Source};

/// Parts that wait for the next thread.
const WAITING_MAX: usize = 4;

type Parsed = (Key, Record, Revision);

/// The state, and which revision wrote each key that has a record.
pub(crate) fn load(
    source: &mut (impl Source + ?Sized),
) -> Result<(State, BTreeMap<Key, Revision>), OpenError> {
    let (rows, to_parse) = sync_channel::<Vec<Row>>(WAITING_MAX);
    let (parsed, to_apply) = sync_channel::<Result<Vec<Parsed>, OpenError>>(WAITING_MAX);
    thread::scope(|scope| {
        let reader = scope.spawn(move || {
            // Nobody takes them any more after a row that cannot be parsed.
            source.load(&mut |part| drop(rows.send(part)))
        });
        scope.spawn(move || {
            for part in to_parse {
                let part: Result<Vec<_>, _> = part.into_iter().map(parse).collect();
                let failed = part.is_err();
                if parsed.send(part).is_err() || failed {
                    return;
                }
            }
        });
        let mut state = State::default();
        let mut written = Vec::new();
        for part in to_apply {
            for (key, record, revision) in part? {
                state.apply(revision, &key, Some(record));
                written.push((key, revision));
            }
        }
        let revision = match reader.join() {
            Ok(revision) => revision.map_err(OpenError::Engine)?,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        state.revision = revision;
        // Made at once, from keys that are nearly in order: much quicker than one by one.
        Ok((state, written.into_iter().collect()))
    })
}

fn parse((key, value, revision): Row) -> Result<Parsed, OpenError> {
    let key: Key = key.parse().map_err(OpenError::Key)?;
    match Record::from_bytes(key.kind, &value) {
        Ok(record) => Ok((key, record, revision)),
        Err(source) => Err(OpenError::Record { key, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EngineError;

    /// Parts of rows, some of which may be no rows of a store.
    struct Parts(Vec<Vec<Row>>);

    impl Source for Parts {
        fn load(&mut self, tell: &mut dyn FnMut(Vec<Row>)) -> Result<Revision, EngineError> {
            self.0.drain(..).for_each(tell);
            Ok(Revision(9))
        }
    }

    fn row(name: &str, value: &str) -> Row {
        let key = format!("123456789012/eu-west-1/token/{name}");
        (key, value.as_bytes().to_vec(), Revision(3))
    }

    const TOKEN: &str = "{\"v\":1,\"parameters\":\"\",\"made\":[],\"at\":0}";

    #[test]
    fn every_part_is_in_the_state() {
        let parts = (0..20).map(|part| {
            vec![
                row(&format!("{part}/a"), TOKEN),
                row(&format!("{part}/b"), TOKEN),
            ]
        });
        let loaded = load(&mut Parts(parts.collect()));
        let (state, written) = loaded.expect("all rows can be read");
        let region = state.regions().values().next().expect("one region");
        assert_eq!((region.tokens.len(), written.len()), (40, 40));
        assert_eq!(state.revision, Revision(9));
    }

    #[test]
    fn one_bad_row_is_told_however_much_comes_behind_it() {
        let mut parts = vec![vec![row("a", TOKEN), row("b", "{\"v\":2}")]];
        parts.extend((0..50).map(|part| vec![row(&part.to_string(), TOKEN)]));
        let failed = load(&mut Parts(parts));
        assert!(matches!(failed, Err(OpenError::Record { key, .. }) if &*key.name == "b"));
        let failed = load(&mut Parts(vec![vec![(
            "x".to_owned(),
            Vec::new(),
            Revision(1),
        )]]));
        assert!(matches!(failed, Err(OpenError::Key(_))));
    }
}
