//! Runs `mainstay` or a tool to its end, with a deadline.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use super::eventually;

/// The program under test.
pub(crate) const MAINSTAY: &str = env!("CARGO_BIN_EXE_mainstay");

/// Puts a copy of a program there. Another process writes it: a file that this one has open for
/// writing is inherited by whatever another thread starts just then, and "Text file busy".
pub(crate) fn install(program: &Path, to: &Path) {
    let status = Command::new("install").args(["-m", "755"]).arg(program).arg(to).status();
    assert!(status.unwrap().success(), "{} to {}", program.display(), to.display());
}

/// Puts a shell script there; see [`install`].
pub(crate) fn install_script(text: &str, to: &Path) {
    let source = to.with_extension("source");
    std::fs::write(&source, format!("#!/bin/sh\n{text}\n")).unwrap();
    install(&source, to);
    std::fs::remove_file(source).unwrap();
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs `mainstay` with these arguments in a directory.
pub(crate) fn mainstay(dir: &Path, args: &[&str]) -> Outcome {
    let mut command = Command::new(MAINSTAY);
    command.args(args).current_dir(dir);
    run(command)
}

/// Runs a command to its end; one that does not end is killed and fails the test.
pub(crate) fn run(mut command: Command) -> Outcome {
    command
        .env_remove("COLUMNS")
        .env_remove("NO_COLOR")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let out = reader(child.stdout.take().unwrap());
    let err = reader(child.stderr.take().unwrap());
    let begun = std::time::Instant::now();
    let status = eventually(&format!("end of {command:?}"), || {
        if begun.elapsed() > super::DEADLINE / 2 {
            child.kill().ok();
        }
        child.try_wait().unwrap()
    });
    let (out, err) = (out.join().unwrap(), err.join().unwrap());
    Outcome { code: status.code(), out, err }
}

fn reader(mut from: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = Vec::new();
        from.read_to_end(&mut text).unwrap();
        String::from_utf8_lossy(&text).into_owned()
    })
}
