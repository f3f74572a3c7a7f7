//! Every target over its corpus, and over changes of it: the same ones each time, or as many as fit
//! into `MAINSTAY_FUZZ_SECONDS`, from a seed that is told (`MAINSTAY_FUZZ_SEED`,
//! `MAINSTAY_FUZZ_TARGET`).

use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fastrand::Rng;
use mainstay_fuzz::mutate::{mutated, shortened};
use mainstay_fuzz::{TARGETS, Target};
use rustix::time::{ClockId, clock_gettime};

/// Changes of each corpus in a run that is not bounded by time.
const CHANGES: usize = 1_500;

/// Most processor time that one input may take, in a debug build.
const INPUT_MAX: Duration = Duration::from_secs(2);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// The inputs that are kept for a target, by name.
fn corpus(target: &Target) -> Vec<Vec<u8>> {
    let directory = root().join("fuzz/corpora").join(target.name);
    let entries = std::fs::read_dir(&directory).expect(target.name);
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.extend(target.fixtures.iter().map(|name| root().join("tests/fixtures").join(name)));
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

fn processor_time() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap()
}

/// What is wrong with how the target takes the input.
fn fault(target: &Target, input: &[u8]) -> Option<String> {
    let begun = processor_time();
    let ran = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    let took = processor_time() - begun;
    match ran {
        Ok(()) if took > INPUT_MAX => Some(format!("it took {took:?}")),
        Ok(()) => None,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
            Some(text.unwrap_or_else(|| "it panicked".to_owned()))
        }
    }
}

/// Keeps the input and says where.
fn fail(target: &Target, input: &[u8]) -> ! {
    let short = shortened(input, |input| fault(target, input).is_some());
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(target.name);
    std::fs::write(&path, &short).unwrap();
    let (why, path) = (fault(target, &short).unwrap_or_default(), path.display());
    let shown = short.escape_ascii();
    drop(take_hook());
    panic!(
        "{}: {why}\ninput, kept as {path}; mend it and add it to the corpus:\n{shown}",
        target.name
    );
}

fn run(target: &Target, enough: impl Fn(usize) -> bool, rng: &mut Rng) -> usize {
    let inputs = corpus(target);
    for input in &inputs {
        if fault(target, input).is_some() {
            fail(target, input);
        }
    }
    let mut count = 0;
    while !enough(count) {
        let input = mutated(&inputs, rng);
        if fault(target, &input).is_some() {
            fail(target, &input);
        }
        count += 1;
    }
    count
}

#[test]
fn whatever_comes_is_taken() {
    let wanted = std::env::var("MAINSTAY_FUZZ_TARGET").unwrap_or_default();
    let targets: Vec<_> = TARGETS.iter().filter(|target| target.name.contains(&wanted)).collect();
    assert!(!targets.is_empty(), "there is no target {wanted}");
    let seconds = setting("MAINSTAY_FUZZ_SECONDS");
    let seed =
        setting("MAINSTAY_FUZZ_SEED").unwrap_or_else(|| seconds.map_or(1, |_| Rng::new().u64(..)));
    println!("MAINSTAY_FUZZ_SEED={seed}");
    // A panic is told once, with its input.
    set_hook(Box::new(|_| {}));
    for target in &targets {
        let begun = Instant::now();
        let share = seconds.map(|seconds| Duration::from_secs(seconds) / targets.len() as u32);
        let enough = |count| match share {
            Some(share) => begun.elapsed() >= share,
            None => count >= CHANGES,
        };
        let count = run(target, enough, &mut Rng::with_seed(seed));
        println!("{}: {count} inputs in {:.1?}", target.name, begun.elapsed());
    }
}

#[test]
fn every_target_has_a_corpus_and_every_corpus_a_target() {
    let mut kept: Vec<_> = std::fs::read_dir(root().join("fuzz/corpora"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    kept.sort();
    let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
    assert_eq!(names, kept);
}

#[test]
fn what_fails_is_made_short() {
    let short = shortened(b"some text with an x in it", |bytes| bytes.contains(&b'x'));
    assert_eq!(short, b"x");
}
