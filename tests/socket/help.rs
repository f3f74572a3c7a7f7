//! What every `--help` says and how wrong commands end, compared with files under
//! `tests/snapshots`. `UPDATE_SNAPSHOTS=1 cargo test` writes the files anew.

use std::path::{Path, PathBuf};

use crate::support::command::{Outcome, mainstay};

fn compare(name: &str, text: &str) {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests/snapshots", name].iter().collect();
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == text,
        "{} differs; look at it and run with UPDATE_SNAPSHOTS=1 if it is meant so:\n{text}",
        path.display()
    );
}

fn run(args: &[&str]) -> Outcome {
    mainstay(Path::new("/"), args)
}

/// Every command, with the words that lead to it.
const COMMANDS: &[&str] = &[
    "",
    "serve",
    "check",
    "import",
    "doctor",
    "status",
    "top",
    "why",
    "events",
    "drain",
    "undrain",
    "rebalance",
    "upgrade",
    "keepalived",
    "keepalived config",
    "keepalived check",
    "ticket",
    "ticket create",
    "ticket list",
    "ticket revoke",
    "forget",
    "init",
    "join",
    "register",
    "leave",
    "agent",
    "certs",
    "certs key",
    "certs upload",
    "certs show",
    "certs download",
    "token",
    "token create",
    "token list",
    "token delete",
    "ca-hash",
    "kubeadm-config",
    "completions",
    "man",
];

#[test]
fn help_texts() {
    for command in COMMANDS {
        let mut args: Vec<&str> = command.split_whitespace().collect();
        args.push("--help");
        let name = ["help"].into_iter().chain(command.split_whitespace());
        let name = name.collect::<Vec<_>>().join("-") + ".txt";
        let outcome = run(&args);
        assert_eq!((outcome.code, outcome.err.as_str()), (Some(0), ""));
        compare(&name, &outcome.out);
    }
}

#[test]
fn every_command_has_a_help_text_here() {
    for parent in ["", "certs", "ticket", "token"] {
        let args: Vec<&str> = parent.split_whitespace().chain(["--help"]).collect();
        let help = run(&args).out;
        let commands = help.split_once("Commands:\n").unwrap().1;
        let names = commands.lines().take_while(|line| !line.is_empty());
        // A line that goes on with a description is indented further.
        let names = names.filter_map(|line| line.strip_prefix("  "));
        let names = names.filter(|line| !line.starts_with(' '));
        for name in names.filter_map(|line| line.split_whitespace().next()) {
            let full = format!("{parent} {name}");
            assert!(name == "help" || COMMANDS.contains(&full.trim()), "{full} has no snapshot");
        }
    }
}

/// Wrong command lines; each must end with a code and a sentence that stay as they are.
const WRONG: &[&str] = &[
    "",
    "balance",
    "serve --lissten 1",
    "serve --listen 6443",
    "serve --listen 127.0.0.1:70000",
    "serve --backend master1",
    "serve --backend 10.0.0.11 --backend 10.0.0.11:6443",
    "serve --backend 10.0.0.11:0",
    "serve --listen 127.0.0.1:7000 --backend 127.0.0.1:7000",
    "serve --probe ping",
    "serve --admin localhost",
    "serve --admin unix:",
    "serve --log-format xml",
    "serve --log-level loud",
    "serve --state-dir /dev/null --admin 127.0.0.1:0 --listen 127.0.0.1:0",
    "serve --state-dir /tmp --listen 192.0.2.1:6443",
    "check --config /there/is/none.toml",
    "status -o yaml",
    "status --admin nowhere",
    "status --admin unix:/there/is/none.sock",
    "status --admin 127.0.0.1:1",
    "serve --cluster-ca /there/is/none.crt --state-dir /tmp --admin 127.0.0.1:0 --listen 127.0.0.1:0",
    "serve --cluster-ca /dev/null --state-dir /tmp --admin 127.0.0.1:0 --listen 127.0.0.1:0",
    "why",
    "why a/b --admin 127.0.0.1:1",
    "top --admin 127.0.0.1:1",
    "events --last some",
    "events --follow --admin unix:/there/is/none.sock",
    "drain master1 --admin unix:/there/is/none.sock",
    "undrain master1 --admin 127.0.0.1:1 --state-dir /there/is/none",
];

#[test]
fn wrong_command_lines() {
    let mut shown = String::new();
    for line in WRONG {
        let args: Vec<&str> = line.split_whitespace().collect();
        let outcome = run(&args);
        assert_eq!(outcome.out, "", "{line}");
        let code = outcome.code.unwrap();
        // Log lines carry the time; the sentence comes last.
        let sentence = outcome.err.lines().filter(|line| !line.starts_with('{'));
        let sentence = sentence.collect::<Vec<_>>().join("\n");
        shown.push_str(&format!("$ mainstay {line}\n{sentence}\n[exit {code}]\n\n"));
    }
    compare("wrong-command-lines.txt", &shown);
}
