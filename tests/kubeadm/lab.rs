//! A directory for one test, and the program run in it.

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal};
use tempfile::TempDir;

/// The clusters that were captured.
pub(crate) const CLUSTERS: [&str; 2] = ["kubeadm-1.20", "kubeadm-1.36"];

/// The files of a master's PKI that are handed over.
pub(crate) const TRANSFERRED: [&str; 8] = [
    "ca.crt",
    "ca.key",
    "front-proxy-ca.crt",
    "front-proxy-ca.key",
    "sa.pub",
    "sa.key",
    "etcd/ca.crt",
    "etcd/ca.key",
];

pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures")).join(name)
}

pub(crate) fn fixture_text(name: &str) -> String {
    std::fs::read_to_string(fixture(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Where one test keeps its files.
pub(crate) struct Lab(TempDir);

impl Lab {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file that only its owner can read.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        path
    }

    /// The certificate key of a captured cluster, as a file only we can read.
    pub(crate) fn key(&self, cluster: &str) -> PathBuf {
        let text = fixture_text(&format!("{cluster}/kubeadm-certs.key"));
        self.file("certs.key", text)
    }

    /// The transferred files of a captured master, and nothing else.
    pub(crate) fn pki(&self, cluster: &str) -> PathBuf {
        let directory = self.path("pki");
        std::fs::create_dir_all(directory.join("etcd")).unwrap();
        for file in TRANSFERRED {
            let from = fixture(cluster).join("pki-master0").join(file);
            std::fs::copy(from, directory.join(file)).unwrap();
        }
        directory
    }
}

/// The program with arguments, away from the kubeconfigs of this machine.
pub(crate) fn mainstay<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Program {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mainstay"));
    command
        .args(arguments)
        .env_remove("KUBECONFIG")
        .env("HOME", "/nonexistent")
        .env("PATH", "/nonexistent");
    Program { command, stdin: String::new() }
}

pub(crate) struct Program {
    command: Command,
    stdin: String,
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Program {
    pub(crate) fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn stdin(mut self, text: impl Into<String>) -> Self {
        self.stdin = text.into();
        self
    }

    pub(crate) fn run(self) -> Ran {
        self.start().end()
    }

    pub(crate) fn start(mut self) -> Started {
        let mut child = self
            .command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It may end without having read its input.
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(self.stdin.as_bytes()).ok();
        drop(stdin);
        Started(child)
    }

    /// Runs it, expects success without a word on stderr, and gives what it printed.
    pub(crate) fn output(self) -> String {
        let ran = self.run();
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
        ran.stdout
    }
}

/// A run that goes on.
pub(crate) struct Started(Child);

impl Started {
    pub(crate) fn interrupt(&self) {
        rustix::process::kill_process(Pid::from_child(&self.0), Signal::INT).unwrap();
    }

    pub(crate) fn end(self) -> Ran {
        let output = self.0.wait_with_output().unwrap();
        Ran {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Ran {
    /// It failed with this code and sentence, and printed nothing.
    pub(crate) fn refused(&self, code: i32, sentence: &str) {
        assert_eq!(self.stderr, format!("mainstay: {sentence}\n"));
        assert_eq!((self.code, self.stdout.as_str()), (code, ""));
    }

    /// Neither stream holds the secret.
    pub(crate) fn hides(&self, secret: &str) {
        assert!(!secret.is_empty());
        assert!(!self.stdout.contains(secret) && !self.stderr.contains(secret));
    }
}
