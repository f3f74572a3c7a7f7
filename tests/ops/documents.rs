//! Follows the documents: every `console` block is typed into a copy of this machine, line by line.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::command::{MAINSTAY, run};
use crate::support::skipped;

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The documents, by path.
fn pages(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            pages(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
}

/// The lines behind `$ ` of the console blocks of a page.
fn typed(text: &str) -> Vec<String> {
    let (mut lines, mut console) = (Vec::new(), false);
    for line in text.lines() {
        if let Some(kind) = line.trim_start().strip_prefix("```") {
            console = kind == "console";
        } else if let Some(line) = line.strip_prefix("$ ").filter(|_| console) {
            lines.push(line.to_owned());
        }
    }
    lines
}

#[test]
fn what_the_pages_say_can_be_typed() {
    if !rustix::process::geteuid().is_root() {
        return skipped("needs root for a copy of this machine");
    }
    let dir = tempfile::tempdir().unwrap();
    let mut overlay = Command::new("unshare");
    let probe = "mount -t tmpfs t $0 && mkdir $0/u $0/w $0/m && \
                 mount -t overlay o -o lowerdir=/,upperdir=$0/u,workdir=$0/w $0/m";
    overlay.args(["-m", "-n", "sh", "-c", probe]).arg(dir.path());
    if run(overlay).code != Some(0) {
        return skipped("this machine does not let us mount an overlay");
    }
    let mut paths = vec![top().join("README.md")];
    pages(&top().join("docs"), &mut paths);
    paths.sort();
    let mut script = String::new();
    for path in paths {
        let lines = typed(&std::fs::read_to_string(&path).unwrap());
        if !lines.is_empty() {
            let name = path.strip_prefix(top()).unwrap().display().to_string();
            script.push_str(&format!("page {name}\n"));
            lines.iter().for_each(|line| script.push_str(&format!("type {line}\n")));
        }
    }
    let typed = script.matches("\ntype ").count();
    assert!(typed > 10, "{script}");
    let list = dir.path().join("typed");
    std::fs::write(&list, script).unwrap();
    let place = dir.path().join("copy");
    std::fs::create_dir(&place).unwrap();
    let mut follow = Command::new("timeout");
    follow
        .args([
            "--kill-after=5",
            "280",
            "unshare",
            "-m",
            "-n",
            "-p",
            "--kill-child",
            "--fork",
            "bash",
        ])
        .arg(top().join("tests/ops/documents.sh"))
        .args([&place, &list])
        .arg(MAINSTAY)
        .arg(top().join("tests/fixtures/import"));
    let ended = follow.stdin(Stdio::null()).output().unwrap();
    let out = String::from_utf8_lossy(&ended.stdout);
    let err = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{out}\n{err}");
    assert_eq!(out.matches("== typed").count(), typed, "{out}\n{err}");
}
