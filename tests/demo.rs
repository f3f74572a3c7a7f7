//! The demo is a test too: it ends with 0 only if no request through the balancer failed while a
//! master died and came back.

#![allow(clippy::unwrap_used, reason = "a test may panic, also outside of its test functions")]

use std::path::{Path, PathBuf};
use std::process::Command;

/// `cargo test` builds the examples beside the program.
fn demo() -> PathBuf {
    let built = Path::new(env!("CARGO_BIN_EXE_mainstay")).parent().unwrap();
    built.join("examples").join("demo")
}

#[test]
fn the_story_ends_well() {
    let demo = demo();
    assert!(
        demo.is_file(),
        "{} is not built: run `cargo build --example demo` first, or `cargo test` without --test",
        demo.display()
    );
    let ended = Command::new(demo).env("ONCE", "1").output().unwrap();
    let story = String::from_utf8_lossy(&ended.stdout);
    let errors = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{story}\n{errors}");
    assert!(story.contains(" 0 failed."), "{story}");
}
