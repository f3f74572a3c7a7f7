//! The demo is a test too: masters register, and it ends with 0 only if no request through the
//! balancer failed while one of them died and came back.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may panic, also outside of its test functions"
)]

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// `cargo test` builds the examples beside the program.
fn demo() -> Command {
    let built = Path::new(env!("CARGO_BIN_EXE_mainstay")).parent().unwrap();
    let demo = built.join("examples").join("demo");
    assert!(
        demo.is_file(),
        "{} is not built: run `cargo build --example demo` first, or `cargo test` without --test",
        demo.display()
    );
    Command::new(demo)
}

/// Finds each part after the one before; the part's line is returned.
struct Reader<'a> {
    story: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn then(&mut self, part: &str) -> &'a str {
        let found = self.story.get(self.at..).unwrap().find(part);
        let begin =
            self.at + found.unwrap_or_else(|| panic!("no `{part}` in time: {}", self.story));
        self.at = begin + part.len();
        self.story.get(begin..).unwrap().lines().next().unwrap()
    }
}

/// The word that follows a part.
fn after<'a>(story: &'a str, part: &str) -> &'a str {
    let rest = story.split(part).nth(1).unwrap_or_else(|| panic!("no `{part}`: {story}"));
    rest.split_whitespace().next().unwrap()
}

/// Nothing is left of a demo: its files are gone, and nobody listens where its balancer did.
fn nothing_is_left(story: &str) {
    let files = PathBuf::from(after(story, "check --config "));
    assert!(!files.parent().unwrap().exists(), "{}", files.display());
    let admin: SocketAddr = after(story, "why master-1 --admin ").parse().unwrap();
    assert!(TcpStream::connect(admin).is_err(), "{admin} is open");
}

#[test]
fn the_story_ends_well() {
    let ended = demo().env("ONCE", "1").output().unwrap();
    let story = String::from_utf8_lossy(&ended.stdout);
    let errors = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{story}\n{errors}");
    let mut reader = Reader { story: &story, at: 0 };
    reader.then("names no master");
    reader.then("mainstay join 127.0.0.1:");
    let ticket = after(&story, "--token ").split('.').next().unwrap();
    let registered = reader.then("balancer: master-0: registered 127.0.0.1:");
    assert!(registered.ends_with(&format!("with ticket {ticket}")), "{registered}");
    reader.then("balancer: cluster: the cluster's CA is known: sha256:");
    reader.then("balancer: master-0: its apiserver is in rotation");
    for master in ["master-1", "master-2"] {
        let registered = reader.then(&format!("balancer: {master}: registered 127.0.0.1:"));
        assert!(registered.ends_with(&format!("with ticket {ticket}")), "{registered}");
        reader.then(&format!("balancer: {master}: its apiserver is in rotation"));
    }
    reader.then("2. Six clients make requests");
    reader.then("3. master-1 is killed now");
    reader.then("master-1 UP -> DEAD");
    reader.then("4. master-1 comes back");
    reader.then("master-1 DEAD -> UP");
    reader.then(" 0 failed.");
    nothing_is_left(&story);
}

#[test]
fn an_interrupt_ends_it_in_order() {
    let mut demo = demo().stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut story = String::new();
    for line in lines.by_ref() {
        story.push_str(&line);
        story.push('\n');
        if line.starts_with("2. Six clients") {
            kill_process(Pid::from_child(&demo), Signal::INT).unwrap();
            break;
        }
    }
    let rest: Vec<String> = lines.collect();
    let ended = demo.wait().unwrap();
    assert!(ended.success(), "{ended}: {story}{}", rest.join("\n"));
    assert!(rest.iter().any(|line| line.contains(" 0 failed.")), "{rest:?}");
    nothing_is_left(&story);
}
