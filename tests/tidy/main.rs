//! The house rules as a test over the repository's own files.
//!
//! Each rule says in its failure what to do. The rules stand in `CONTRIBUTING.md`.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic, also outside of its test functions"
)]

mod documents;
mod functions;
mod source;

use functions::functions;
use source::{File, files};

/// A function is read in one look.
const FUNCTION_LINES_MAX: usize = 70;

/// A file without its tests has one subject.
const FILE_LINES_MAX: usize = 400;

/// A file of tests is a list, which may be longer.
const TEST_FILE_LINES_MAX: usize = 600;

/// The one place where tasks are started.
const TASKS: &str = "common/src/tasks.rs";

fn rust() -> Vec<File> {
    let mut all = files();
    all.retain(|file| file.path.ends_with(".rs"));
    assert!(all.len() > 50, "the rules look at the wrong directory");
    all
}

/// Fails with every violation at once and what to do about them.
fn none(violations: Vec<String>, what_to_do: &str) {
    assert!(violations.is_empty(), "\n{}\n\nWhat to do: {what_to_do}\n", violations.join("\n"));
}

/// The lines of code that hold `pattern`, as `path:line`.
fn lines_with(file: &File, pattern: &str) -> Vec<String> {
    let holds = |(_, line): &(usize, &str)| line.contains(pattern);
    let lines = file.code.lines().enumerate().filter(holds);
    lines.map(|(index, _)| format!("{}:{}: {pattern}", file.path, index + 1)).collect()
}

#[test]
fn every_module_begins_with_its_purpose() {
    let without = rust()
        .iter()
        .filter(|file| !file.text.starts_with("//! "))
        .map(|file| file.path.clone())
        .collect();
    none(without, "begin the file with a `//!` line that says why it exists and what it promises.");
}

#[test]
fn tasks_are_started_through_the_handle() {
    let banned = ["tokio::spawn", "task::spawn(", "spawn_local("];
    let mut found = Vec::new();
    for file in rust().iter().filter(|file| file.path != TASKS && !file.is_test()) {
        for pattern in banned {
            found.extend(lines_with(file, pattern));
        }
    }
    none(found, "start the task with `common::Tasks`, so that shutdown can wait for it.");
}

#[test]
fn nothing_is_unsafe() {
    let mut found = Vec::new();
    for file in rust() {
        let words = file.code.lines().enumerate().filter(|(_, line)| {
            let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
            words.any(|word| word == "unsafe")
        });
        found.extend(words.map(|(index, _)| format!("{}:{}", file.path, index + 1)));
    }
    none(found, "find a safe way: rustix and socket2 wrap the system calls that we need.");
}

#[test]
fn nothing_is_left_for_later() {
    // Put together here, so that this file does not break its own rule.
    let marks = [["TO", "DO"], ["FIX", "ME"], ["XX", "X"]].map(|halves| halves.concat());
    let mut found = Vec::new();
    for file in files() {
        for (index, line) in file.text.lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark.as_str())) {
                found.push(format!("{}:{}: {}", file.path, index + 1, line.trim()));
            }
        }
    }
    none(found, "do it now, or open an issue and leave no mark in the file.");
}

#[test]
fn files_have_one_subject() {
    let mut long = Vec::new();
    for file in rust() {
        let (lines, limit) = if file.is_test() {
            (file.text.lines().count(), TEST_FILE_LINES_MAX)
        } else {
            (file.lines_without_tests(), FILE_LINES_MAX)
        };
        if lines > limit {
            long.push(format!("{}: {lines} lines, limit {limit}", file.path));
        }
    }
    none(long, "split the file by subject; tests may move to a file of their own.");
}

#[test]
fn functions_are_short() {
    let mut long = Vec::new();
    for file in rust() {
        for found in functions(&file.code) {
            if found.lines > FUNCTION_LINES_MAX {
                let (name, line, lines) = (&found.name, found.line, found.lines);
                long.push(format!("{}:{line}: fn {name} has {lines} lines", file.path));
            }
        }
    }
    none(
        long,
        "at most 70 lines: keep the decisions in the parent and move straight work to helpers.",
    );
}

#[test]
fn balancer_and_coordinator_do_not_know_each_other() {
    let apart =
        [("lb", vec!["bootstrap"]), ("bootstrap", vec!["lb"]), ("common", vec!["lb", "bootstrap"])];
    let mut found = Vec::new();
    for (package, strangers) in apart {
        let manifest = format!("{package}/Cargo.toml");
        let text = std::fs::read_to_string(source::root().join(&manifest)).unwrap();
        for (index, line) in text.lines().enumerate() {
            let named = |stranger: &&str| {
                let rest = line.strip_prefix(*stranger);
                rest.is_some_and(|rest| rest.starts_with(['.', ' ', '=']))
                    || line.contains(&format!("mainstay-{stranger}"))
            };
            if strangers.iter().any(named) {
                found.push(format!("{manifest}:{}: {line}", index + 1));
            }
        }
    }
    none(found, "what both need goes to `common`; what connects them goes to the binary.");
}
