//! The store as a whole: what is found again after an end, a crash, a flush, and a full disk.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use arrow_array::cast::AsArray as _;
use arrow_array::types::{Int64Type, UInt64Type};
use arrow_array::{RecordBatch, StringArray, UInt64Array};
use arrow_schema::{DataType, Field};
use enid_model::time::{Clock, Timestamp};

use super::*;

/// A clock that stands still until it is set.
struct Set(AtomicI64);

impl Clock for Set {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

/// 2026-11-23 14:00.
const NOON: i64 = 1_795_442_400_000;
const HOUR: i64 = 3_600_000;

fn clock() -> Arc<Set> {
    Arc::new(Set(AtomicI64::new(NOON)))
}

fn kind() -> Kind {
    let value = Field::new("value", DataType::UInt64, false);
    Kind::new("it", vec![value], Duration::from_secs(48 * 3600))
}

fn options(root: &Path) -> Options {
    Options {
        disk_reserve: 0,
        is_durable: false,
        ..Options::new(root.to_owned())
    }
}

fn open(root: &Path) -> Store {
    Store::open(options(root), vec![kind()], clock()).unwrap()
}

/// Rows of a time, a key and a value.
fn batch(rows: &[(i64, &str, u64)]) -> RecordBatch {
    let times = rows.iter().map(|row| row.0).collect::<Vec<_>>();
    let keys = rows.iter().map(|row| row.1).collect::<Vec<_>>();
    let values = rows.iter().map(|row| row.2).collect::<Vec<_>>();
    RecordBatch::try_new(
        kind().schema(),
        vec![
            Arc::new(arrow_array::Int64Array::from(times)),
            Arc::new(StringArray::from(keys)),
            Arc::new(UInt64Array::from(values)),
        ],
    )
    .unwrap()
}

fn rows(rows: &[(i64, &str, u64)]) -> Write {
    Write::new().batch("it", batch(rows))
}

fn query(from: i64, to: i64, keys: Keys) -> Query {
    Query {
        kind: "it",
        from: Timestamp(from),
        to: Timestamp(to),
        keys,
        columns: None,
    }
}

fn all() -> Query {
    query(i64::MIN, i64::MAX, Keys::All)
}

/// The values that a query finds, sorted.
fn values(store: &Store, query: &Query) -> Vec<u64> {
    let mut values = Vec::new();
    for batch in store.scan(query).unwrap() {
        let batch = batch.unwrap();
        let column = batch.column_by_name("value").unwrap();
        values.extend_from_slice(column.as_primitive::<UInt64Type>().values());
    }
    values.sort_unstable();
    values
}

/// A copy of a directory as it is at this moment: what a crash leaves.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn rows_are_found_in_memory_in_files_and_after_each_start() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    let first = store
        .append(rows(&[(NOON, "a", 1), (NOON + HOUR, "b", 2)]))
        .unwrap();
    let second = store.append(rows(&[(NOON, "b", 3)])).unwrap();
    assert!(second.first_arrival > first.first_arrival + 1);
    let check = |store: &Store| {
        assert_eq!(values(store, &all()), [1, 2, 3]);
        let sorted = store.scan_sorted(&all()).unwrap();
        let arrivals = sorted.column_by_name(ARRIVAL).unwrap();
        let arrivals = arrivals.as_primitive::<UInt64Type>().values().to_vec();
        let (one, two) = (first.first_arrival, second.first_arrival);
        assert_eq!(arrivals, [one, two, one + 1]);
    };
    check(&store);
    drop(store);
    let store = open(root.path());
    check(&store);
    store.flush().unwrap();
    check(&store);
    assert_eq!(store.stats().kinds["it"].files, 2);
    assert_eq!(store.stats().kinds["it"].memory_rows, 0);
    drop(store);
    let store = open(root.path());
    check(&store);
    let third = store.append(rows(&[(NOON, "c", 4)])).unwrap();
    assert!(third.first_arrival > second.first_arrival);
}

#[test]
fn a_query_finds_its_times_and_keys_and_nothing_else() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    let keys = ["a", "b", "c"];
    let many: Vec<(i64, &str, u64)> = (0..90_000_u64)
        .map(|n| {
            let key = keys[usize::try_from(n % 3).unwrap()];
            (NOON + i64::try_from(n).unwrap(), key, n)
        })
        .collect();
    store.append(rows(&many)).unwrap();
    let check = |store: &Store| {
        let only = |keys: &[&str]| Keys::Only(keys.iter().map(|key| (*key).to_owned()).collect());
        let found = |from, to, keys| values(store, &query(NOON + from, NOON + to, keys));
        assert_eq!(found(3, 6, Keys::All), [3, 4, 5]);
        assert_eq!(found(0, 7, only(&["a", "c"])), [0, 2, 3, 5, 6]);
        assert_eq!(found(89_999, 90_001, Keys::one("c")), [89_999]);
        assert_eq!(found(0, 90_000, Keys::one("b")).len(), 30_000);
        assert!(found(90_000, HOUR, Keys::All).is_empty());
        assert!(found(0, HOUR, only(&["d"])).is_empty());
        assert!(found(0, HOUR, only(&[])).is_empty());
    };
    check(&store);
    store.flush().unwrap();
    check(&store);
    let narrow = Query {
        columns: Some(vec![]),
        ..query(NOON, NOON + 1, Keys::All)
    };
    assert_eq!(store.scan_sorted(&narrow).unwrap().num_columns(), 3);
}

#[test]
fn a_crash_at_any_step_of_a_flush_neither_loses_nor_repeats() {
    let root = tempfile::tempdir().unwrap();
    let store = open(&root.path().join("it"));
    store
        .append(rows(&[(NOON, "a", 1), (NOON + HOUR, "a", 2)]))
        .unwrap();
    // As it is before the flush, and after it.
    copy(&root.path().join("it"), &root.path().join("before"));
    store.flush().unwrap();
    store.append(rows(&[(NOON, "a", 3)])).unwrap();
    copy(&root.path().join("it"), &root.path().join("after"));
    drop(store);
    assert_eq!(values(&open(&root.path().join("before")), &all()), [1, 2]);
    assert_eq!(values(&open(&root.path().join("after")), &all()), [1, 2, 3]);
    // Both files written, one of them, and the log still whole.
    for kept in [2, 1] {
        let torn = root.path().join(format!("torn{kept}"));
        copy(&root.path().join("before"), &torn);
        copy(&root.path().join("after/files"), &torn.join("files"));
        let day = torn.join("files/it/day=2026-11-23");
        if kept == 1 {
            fs::remove_dir_all(day.join("hour=15")).unwrap();
        }
        assert_eq!(fs::read_dir(&day).unwrap().count(), kept);
        let store = open(&torn);
        assert_eq!(values(&store, &all()), [1, 2]);
        store.flush().unwrap();
        assert_eq!(values(&store, &all()), [1, 2]);
    }
}

#[test]
fn what_was_removed_does_not_come_back_from_the_log() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    // The note keeps the segment that the rows are in.
    let note = vec![7; 9 << 20];
    store
        .append(rows(&[(NOON, "a", 1)]).note("me", true, note.clone()))
        .unwrap();
    store.flush().unwrap();
    drop(store);
    fs::remove_dir_all(root.path().join("files/it")).unwrap();
    let store = open(root.path());
    assert!(values(&store, &all()).is_empty());
    assert_eq!(store.notes("me").unwrap(), [note]);
}

#[test]
fn notes_are_as_durable_as_rows_and_a_full_one_replaces_all() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    let note = |is_full, byte: u8| Write::new().note("me", is_full, vec![byte]);
    assert!(store.notes("me").unwrap().is_empty());
    store.append(note(false, 1)).unwrap();
    store.append(note(true, 2).and(note(false, 3))).unwrap();
    store.append(note(false, 4)).unwrap();
    store
        .append(Write::new().note("other", true, vec![9]))
        .unwrap();
    let expected = [vec![2], vec![3], vec![4]];
    for _ in 0..2 {
        assert_eq!(store.notes("me").unwrap(), expected);
        store.flush().unwrap();
    }
    drop(store);
    let store = open(root.path());
    assert_eq!(store.notes("me").unwrap(), expected);
    assert_eq!(store.notes("other").unwrap(), [[9]]);
    // Small notes are written again: the log does not grow with each flush.
    assert!(fs::read_dir(root.path().join("log")).unwrap().count() <= 2);
    store.clear().unwrap();
    assert!(store.notes("me").unwrap().is_empty());
    drop(store);
    assert!(open(root.path()).notes("me").unwrap().is_empty());
}

#[test]
fn a_write_that_does_not_fit_its_kind_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    let unknown = Write::new().batch("other", batch(&[(NOON, "a", 1)]));
    assert!(matches!(
        store.append(unknown),
        Err(StoreError::UnknownKind("other"))
    ));
    let narrow = batch(&[(NOON, "a", 1)]).project(&[0, 1]).unwrap();
    assert!(matches!(
        store.append(Write::new().batch("it", narrow)),
        Err(StoreError::Schema("it"))
    ));
    assert!(values(&store, &all()).is_empty());
}

#[test]
fn threads_that_append_while_memory_is_flushed_see_every_row_once() {
    let root = tempfile::tempdir().unwrap();
    let mut options = options(root.path());
    options.memory_max = 200_000;
    let store = Store::open(options, vec![kind()], clock()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let store = store.clone();
            scope.spawn(move || {
                for n in 0..200_u64 {
                    let value = thread * 1_000 + n;
                    let key = format!("k{thread}");
                    store.append(rows(&[(NOON, key.as_str(), value)])).unwrap();
                    if n % 50 == 0 {
                        let own = values(&store, &query(NOON, NOON + 1, Keys::one(&key)));
                        let expected: Vec<u64> = (0..=n).map(|n| thread * 1_000 + n).collect();
                        assert_eq!(own, expected);
                    }
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..5 {
                store.flush().unwrap();
            }
        });
    });
    assert_eq!(values(&store, &all()).len(), 800);
    drop(store);
    assert_eq!(values(&open(root.path()), &all()).len(), 800);
}

/// Does what the keeper does every few seconds.
fn keep(store: &Store) {
    // A flush of nothing wakes it, and its bounds are kept after each task; the second one waits for that.
    store.flush().unwrap();
    store.flush().unwrap();
}

#[test]
fn old_hours_go_by_their_age() {
    let root = tempfile::tempdir().unwrap();
    let clock = clock();
    let store = Store::open(options(root.path()), vec![kind()], clock.clone()).unwrap();
    store
        .append(rows(&[(NOON, "a", 1), (NOON + HOUR, "a", 2)]))
        .unwrap();
    keep(&store);
    assert_eq!(values(&store, &all()), [1, 2]);
    clock.0.store(NOON + 49 * HOUR, Ordering::Relaxed);
    keep(&store);
    assert_eq!(values(&store, &all()), [2]);
    assert_eq!(store.stats().expired_rows, 1);
    drop(store);
    assert_eq!(values(&open(root.path()), &all()), [2]);
}

#[test]
fn the_oldest_goes_first_when_files_are_too_many_bytes() {
    let root = tempfile::tempdir().unwrap();
    let mut options = options(root.path());
    options.disk_max = 8_000;
    let store = Store::open(options, vec![kind()], clock()).unwrap();
    for hour in 0..12 {
        let value = u64::try_from(hour).unwrap();
        store
            .append(rows(&[(NOON + hour * HOUR, "a", value)]))
            .unwrap();
        store.flush().unwrap();
    }
    keep(&store);
    let left = values(&store, &all());
    assert!(!left.is_empty() && left.len() < 12, "{left:?}");
    let expected: Vec<u64> = (0..12).skip(12 - left.len()).collect();
    assert_eq!(left, expected);
    assert_eq!(store.stats().evicted_rows, 12 - left.len() as u64);
}

#[test]
fn files_of_a_past_hour_become_one_without_the_rows_below_a_floor() {
    let root = tempfile::tempdir().unwrap();
    let clock = clock();
    let floor: Floor = Arc::new(|key: &str| match key {
        "gone" => Timestamp(i64::MAX),
        _ => Timestamp(i64::MIN),
    });
    let kinds = vec![kind().with_floor(floor)];
    let store = Store::open(options(root.path()), kinds, clock.clone()).unwrap();
    for value in 0..4 {
        store
            .append(rows(&[(NOON, "a", value), (NOON, "gone", 100)]))
            .unwrap();
        store.flush().unwrap();
    }
    // A reader that began before goes on.
    let scan = store.scan(&all()).unwrap();
    assert_eq!(store.stats().kinds["it"].files, 4);
    clock.0.store(NOON + 2 * HOUR, Ordering::Relaxed);
    keep(&store);
    assert_eq!(store.stats().kinds["it"].files, 1);
    assert_eq!(values(&store, &all()), [0, 1, 2, 3]);
    let read: usize = scan.map(|batch| batch.unwrap().num_rows()).sum();
    assert_eq!(read, 8);
    keep(&store);
    drop(store);
    let store = open(root.path());
    assert_eq!(values(&store, &all()), [0, 1, 2, 3]);
    let hour = root.path().join("files/it/day=2026-11-23/hour=14");
    assert_eq!(fs::read_dir(hour).unwrap().count(), 1);
}

#[test]
fn appends_are_refused_when_memory_is_full_and_cannot_be_written() {
    let root = tempfile::tempdir().unwrap();
    let mut options = options(root.path());
    options.memory_max = 4_000;
    let store = Store::open(options, vec![kind()], clock()).unwrap();
    // Nothing can be written below a file.
    fs::write(root.path().join("files/it"), "in the way").unwrap();
    let mut stored = 0;
    let refused = (0..1_000).any(|n| match store.append(rows(&[(NOON, "a", n)])) {
        Ok(_) => {
            stored += 1;
            false
        }
        Err(StoreError::Full) => true,
        Err(error) => panic!("{error}"),
    });
    assert!(refused);
    let stats = store.stats();
    assert!(stats.failed_flushes > 0 && stats.refused_writes == 1);
    assert_eq!(values(&store, &all()).len(), stored);
    // What was answered is there, and a start finds room again.
    drop(store);
    fs::remove_file(root.path().join("files/it")).unwrap();
    let store = open(root.path());
    assert_eq!(values(&store, &all()).len(), stored);
    store.flush().unwrap();
}

/// A disk of a megabyte on which files take ten times what they are, and others as much as is said.
fn small_disk(others: &Arc<AtomicU64>) -> Disk {
    let others = Arc::clone(others);
    Disk::new(move |directory| {
        let mut used = others.load(Ordering::Relaxed);
        let mut directories = vec![directory.to_owned()];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory)? {
                let entry = entry?;
                match entry.file_type()?.is_dir() {
                    true => directories.push(entry.path()),
                    false => used += 10 * entry.metadata()?.len(),
                }
            }
        }
        let total = 1 << 20;
        Ok(Space {
            free: total - used.min(total),
            total,
        })
    })
}

#[test]
fn a_full_disk_takes_the_oldest_then_all_and_is_used_again_when_it_has_room() {
    let root = tempfile::tempdir().unwrap();
    let (clock, others) = (clock(), Arc::new(AtomicU64::new(0)));
    let options = Options {
        disk_reserve: 1 << 30,
        disk: small_disk(&others),
        ..options(root.path())
    };
    let store = Store::open(options.clone(), vec![kind()], clock.clone()).unwrap();
    for hour in 0..4 {
        let value = u64::try_from(hour).unwrap();
        store
            .append(rows(&[(NOON + hour * HOUR, "a", value)]))
            .unwrap();
        store.flush().unwrap();
    }
    let is_short = || store.stats().is_short_of_space;
    let later = || clock.0.fetch_add(1_000, Ordering::Relaxed);
    // An eighth of a megabyte is left free: now a little of it is missing.
    let files = store.stats().kinds["it"].file_bytes;
    others.store((1 << 20) - (1 << 17) - 10 * files + 1, Ordering::Relaxed);
    later();
    store.append(rows(&[(NOON + 4 * HOUR, "a", 4)])).unwrap();
    assert_eq!(values(&store, &all()), [1, 2, 3, 4]);
    assert_eq!(store.evicted_until("it"), Timestamp(NOON + HOUR));
    assert!(!is_short());
    // Nothing that goes will do: what is in memory stays, and nothing is added.
    others.store(1 << 20, Ordering::Relaxed);
    later();
    let refused = store.append(rows(&[(NOON + 5 * HOUR, "a", 5)]));
    assert!(matches!(refused, Err(StoreError::Full)));
    assert_eq!(values(&store, &all()), [4]);
    let stats = store.stats();
    assert!(is_short() && stats.free_bytes == 0 && stats.refused_writes == 1);
    assert_eq!(stats.evicted_rows, 4);
    others.store(0, Ordering::Relaxed);
    later();
    store.append(rows(&[(NOON + 6 * HOUR, "a", 6)])).unwrap();
    assert!(!is_short());
    assert_eq!(values(&store, &all()), [4, 6]);
    store.flush().unwrap();
    drop(store);
    // A start makes room as well, and knows what went before.
    others.store(1 << 20, Ordering::Relaxed);
    let store = Store::open(options, vec![kind()], clock).unwrap();
    assert!(values(&store, &all()).is_empty());
    assert_eq!(store.evicted_until("it"), Timestamp(NOON + 7 * HOUR));
}

#[test]
fn room_that_is_made_waits_for_who_reads_what_goes() {
    // Fails if rows are refused, or more goes than is needed, because an answer is still read.
    let root = tempfile::tempdir().unwrap();
    let (clock, others) = (clock(), Arc::new(AtomicU64::new(0)));
    let options = Options {
        disk_reserve: 1 << 30,
        disk: small_disk(&others),
        ..options(root.path())
    };
    let store = Store::open(options, vec![kind()], clock.clone()).unwrap();
    for hour in 0..3 {
        let value = u64::try_from(hour).unwrap();
        let write = rows(&[(NOON + hour * HOUR, "a", value)]);
        store.append(write).unwrap();
        store.flush().unwrap();
    }
    let files = store.stats().kinds["it"].file_bytes;
    others.store((1 << 20) - (1 << 17) - 10 * files + 1, Ordering::Relaxed);
    clock.0.fetch_add(1_000, Ordering::Relaxed);
    let read = store.scan(&all()).unwrap();
    std::thread::scope(|scope| {
        let append = scope.spawn(|| store.append(rows(&[(NOON + 4 * HOUR, "a", 4)])));
        std::thread::sleep(Duration::from_millis(200));
        drop(read);
        append.join().unwrap().unwrap();
    });
    assert!(!store.stats().is_short_of_space);
    assert_eq!(values(&store, &all()), [1, 2, 4]);
}

#[test]
fn rows_that_are_old_when_a_store_is_opened_become_files() {
    // Fails if who dies more often than files are written keeps everything in memory.
    let root = tempfile::tempdir().unwrap();
    let clock = clock();
    let open = || Store::open(options(root.path()), vec![kind()], clock.clone()).unwrap();
    open().append(rows(&[(NOON, "a", 1)])).unwrap();
    let later = |by| clock.0.fetch_add(by, Ordering::Relaxed);
    let files = |store: &Store| store.stats().kinds["it"].file_rows;
    later(200_000);
    let store = open();
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(files(&store), 0, "they are not old yet");
    drop(store);
    later(200_000);
    let store = open();
    for _ in 0..100 {
        if files(&store) == 1 {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(files(&store), 1);
    assert_eq!(values(&store, &all()), [1]);
}

#[test]
fn times_and_keys_of_all_batches_are_there() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    store
        .append(rows(&[(NOON, "b", 1), (NOON - 1, "a", 2)]))
        .unwrap();
    let sorted = store.scan_sorted(&all()).unwrap();
    let times = sorted.column_by_name(TIME).unwrap();
    assert_eq!(
        times.as_primitive::<Int64Type>().values().as_ref(),
        [NOON - 1, NOON]
    );
    let keys: BTreeSet<&str> = sorted
        .column_by_name(KEY)
        .unwrap()
        .as_string::<i32>()
        .iter()
        .flatten()
        .collect();
    assert_eq!(keys, BTreeSet::from(["a", "b"]));
    let kinds: BTreeMap<_, _> = store.stats().kinds;
    assert_eq!(kinds["it"].memory_rows, 2);
}

#[test]
fn a_store_works_on_the_threads_of_a_runtime_as_well() {
    let root = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.unwrap();
    runtime.block_on(async {
        for rows_before in 0..2 {
            let store = open(root.path());
            assert_eq!(values(&store, &all()).len(), rows_before);
            store.append(rows(&[(NOON, "a", 1)])).unwrap();
            store.flush().unwrap();
        }
    });
}
