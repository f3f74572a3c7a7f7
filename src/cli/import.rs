//! `mainstay import`: a configuration made from the one of NGINX or HAProxy.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use common::files;

use super::input::{self, tell};
use crate::exit::{Exit, Stop};
use crate::import::{Format, ImportError, Imported, Weight, import};

/// Readable for the service's user; there is no secret in it.
const MODE: u32 = 0o644;

/// Largest file that is compared with what is to be written; what we write is below 64 KiB.
const OUT_BYTES_MAX: u64 = 4 << 20;

/// Make a mainstay.toml from the nginx.conf or haproxy.cfg of the balancer that you have.
///
/// Takes the section that looks like an apiserver (port 6443 on either side), or the one that
/// --section names. Says on stderr what it could not carry over and why, with line numbers. What is
/// included from other files is not followed. The result always passes `mainstay check`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  mainstay import /etc/nginx/nginx.conf > mainstay.toml\n  \
mainstay import /etc/haproxy/haproxy.cfg --section apiserver --out /etc/mainstay/mainstay.toml")]
pub(super) struct Import {
    /// The file to read; `-` for the standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Whose file it is [default: seen from its first line].
    #[arg(long, value_enum)]
    format: Option<Format>,

    /// The section that is meant: an upstream of NGINX, a frontend or listen of HAProxy, or the
    /// address that it listens on.
    #[arg(long, value_name = "NAME")]
    section: Option<String>,

    /// Write to this file instead of the standard output; one that is there and differs is kept.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Replace the file of --out.
    #[arg(long, requires = "out")]
    force: bool,

    /// Change nothing; end with 1 if the file of --out is not there or differs.
    #[arg(long, requires = "out", conflicts_with = "force")]
    check: bool,
}

impl Import {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let bytes = input::bytes(&self.file)?;
        let name = self.file.display().to_string();
        let imported = import(&bytes, &name, self.format, self.section.as_deref());
        let imported = imported.map_err(|error| refused(&name, &error))?;
        report(&name, &imported);
        match &self.out {
            None => Ok(std::io::stdout().lock().write_all(imported.toml.as_bytes())?),
            Some(out) => self.write(out, &imported.toml),
        }
    }

    fn write(&self, out: &Path, toml: &str) -> anyhow::Result<()> {
        let shown = out.display();
        let there = match files::regular(out, OUT_BYTES_MAX) {
            Ok(there) => Some(there),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) if error.kind() == ErrorKind::InvalidInput => {
                return Err(Stop::usage(format!("{shown} is no regular file")).into());
            }
            Err(error) => return Err(Stop::failed(format!("cannot read {shown}: {error}")).into()),
        };
        if there.as_deref() == Some(toml.as_bytes()) {
            tell(&format!("{shown} is like this already"));
            return Ok(());
        }
        if self.check {
            let state = if there.is_some() { "differs" } else { "is not there" };
            return Err(Stop::failed(format!("{shown} {state}")).into());
        }
        if there.is_some() && !self.force {
            let sentence = format!("{shown} is there already and differs; --force replaces it");
            return Err(Stop::failed(sentence).into());
        }
        replace(out, toml).map_err(|error| not_written(out, &error))?;
        tell(&format!("{shown} written; try `mainstay check --config {shown}`"));
        Ok(())
    }
}

/// Writes beside the file and moves it there, so that nobody ever sees half of it.
fn replace(out: &Path, toml: &str) -> std::io::Result<()> {
    let mut beside = out.as_os_str().to_owned();
    beside.push(format!(".{}.new", std::process::id()));
    let beside = PathBuf::from(beside);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(&beside)?;
    let moved = file
        .write_all(toml.as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::rename(&beside, out));
    if moved.is_err() {
        // What failed is said; that its rest cannot be removed either would only hide it.
        std::fs::remove_file(&beside).ok();
    }
    moved
}

fn not_written(out: &Path, error: &std::io::Error) -> Stop {
    let exit = match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Exit::Refused,
        _ => Exit::Failed,
    };
    Stop::new(exit, format!("cannot write {}: {error}", out.display()))
}

fn refused(name: &str, error: &ImportError) -> Stop {
    Stop::usage(format!("cannot import {name}: {error}"))
}

/// What was taken and what was left, for people.
fn report(name: &str, imported: &Imported) {
    let Imported { section, line, backends, notes, .. } = imported;
    tell(&format!("{name}: section `{section}` (line {line}), {backends} backends"));
    let kinds = [(Weight::Lost, "not carried over:"), (Weight::Unneeded, "not needed any more:")];
    for (weight, title) in kinds {
        let mut notes = notes.iter().filter(|note| note.weight == weight).peekable();
        if notes.peek().is_some() {
            tell(title);
        }
        for note in notes {
            tell(&format!("  line {}: `{}`: {}", note.line, note.what, note.why));
        }
    }
}
