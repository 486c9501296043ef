//! Every target over its corpus, over what was found before, and over mutations from a seed.

#![expect(
    clippy::tests_outside_test_module,
    reason = "an integration test is one"
)]

use std::any::Any;
use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};

use enid_fuzz::mutate::Mutator;
use enid_fuzz::packet::verdicts;
use enid_fuzz::{TARGETS, Target};
use enid_pipeline::{Reason, Verdict};

/// Mutated inputs of a target; `ENID_FUZZ_RUNS` sets another number.
const RUNS: usize = 20_000;
/// Of the targets that start a region of their own each time.
const FRONT_RUNS: usize = 2_000;
const SESSION_RUNS: usize = 300;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The files of a directory in the order of their names; none if there is no directory.
fn files(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("the directory can be read").path())
        .map(|path| {
            let bytes = fs::read(&path).expect("the file can be read");
            (path.display().to_string(), bytes)
        })
        .collect();
    files.sort();
    files
}

fn target(name: &str) -> Target {
    let found = TARGETS.iter().find(|(target, _)| *target == name);
    found.expect("there is such a target").1
}

fn runs(name: &str) -> usize {
    let wanted = std::env::var("ENID_FUZZ_RUNS").ok();
    match wanted {
        Some(number) => number.parse().expect("ENID_FUZZ_RUNS is a number"),
        None if name == "front" => FRONT_RUNS,
        None if name == "session" => SESSION_RUNS,
        None => RUNS,
    }
}

/// Runs a target and tells which input it failed at.
fn run(target: Target, data: &[u8], origin: &str) {
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| target(data)));
    if let Err(cause) = outcome {
        let cause: &(dyn Any + Send) = &*cause;
        let text = cause.downcast_ref::<String>().cloned();
        let text = text.or_else(|| cause.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        panic!(
            "{origin}: {}\ninput: b\"{}\"",
            text.unwrap_or_default(),
            data.escape_ascii()
        );
    }
}

fn hold(name: &str) {
    let target = target(name);
    let corpus = files(&root().join("fuzz/corpus").join(name));
    assert!(corpus.len() >= 8, "{name} has a corpus of {}", corpus.len());
    let finds = files(&root().join("tests/regress").join(name));
    for (path, data) in corpus.iter().chain(&finds) {
        run(target, data, path);
    }
    let corpus: Vec<Vec<u8>> = corpus.into_iter().map(|(_, data)| data).collect();
    let seed = std::env::var("ENID_FUZZ_SEED").ok();
    let seed = seed.map_or(1, |seed| seed.parse().expect("ENID_FUZZ_SEED is a number"));
    let mut mutator = Mutator::new(seed);
    for number in 0..runs(name) {
        let data = mutator.next(&corpus);
        run(
            target,
            &data,
            &format!("{name}, seed {seed}, input {number}"),
        );
    }
}

macro_rules! tests {
    ($($name:ident)+) => {
        $(
            #[test]
            fn $name() {
                hold(stringify!($name));
            }
        )+

        #[test]
        fn every_target_has_its_test_and_its_fuzzer() {
            let mut tested = vec![$(stringify!($name)),+];
            tested.sort_unstable();
            let all: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
            assert_eq!(tested, all);
            for name in all {
                let fuzzer = root().join(format!("fuzz/fuzz_targets/{name}.rs"));
                assert!(fuzzer.is_file(), "{}", fuzzer.display());
            }
        }
    };
}

tests! { authorization dashboard dns filter filter_policy form front id imds key log_pattern log_query packet policy record request session widget }

/// A corpus of packets that are all refused, or all forwarded, would show little.
#[test]
fn the_packets_of_the_corpus_get_far() {
    let corpus = files(&root().join("fuzz/corpus/packet"));
    let all: Vec<Verdict> = corpus.iter().flat_map(|(_, data)| verdicts(data)).collect();
    let forwarded = all
        .iter()
        .filter(|verdict| matches!(verdict, Verdict::Forward { .. }));
    assert!(forwarded.count() >= 10, "{all:?}");
    assert!(all.contains(&Verdict::Reply), "{all:?}");
    for reason in [
        Reason::ArpUnanswered,
        Reason::DestinationMac,
        Reason::EtherType,
        Reason::FragmentUnknown,
        Reason::IngressRule,
        Reason::Malformed,
        Reason::Multicast,
        Reason::NoEndpoint,
        Reason::NoRoute,
        Reason::RouterAddress,
        Reason::SourceAddress,
        Reason::SourceMac,
        Reason::TargetDown,
        Reason::UnknownDevice,
    ] {
        assert!(
            all.contains(&Verdict::Drop(reason)),
            "{reason:?} in {all:?}"
        );
    }
}
