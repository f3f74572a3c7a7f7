//! Secrets and saved objects, read from a file or from stdin (`-`): what stands on the command line
//! is seen by everybody on the machine and kept in the shell's history. Pipes are read too, for what
//! the shell makes of `<(...)`.

use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use bootstrap::kubeadm::{CertificateKey, ConfigMap, ObjectError, Secret};
use common::files;
use zeroize::Zeroizing;

use crate::exit::{Exit, Stop};

/// Longest file that is read: a saved Secret has at most 1 MiB as base64, and its frame.
const MAX_BYTES: u64 = 4 << 20;

/// Room for a key or a token, read in one go.
const SECRET_BYTES: usize = 4096;

/// The certificate key in a file; blanks and line ends around it are passed over.
pub(super) fn certificate_key(path: &Path) -> anyhow::Result<CertificateKey> {
    let text = secret_text(path)?;
    let shown = shown(path);
    text.trim()
        .parse()
        .map_err(|error| Stop::usage(format!("--certificate-key-file {shown}: {error}")).into())
}

/// A short secret text. Warns if others on this machine can read the file.
pub(super) fn secret_text(path: &Path) -> anyhow::Result<Zeroizing<String>> {
    let text = text(path)?;
    if !is_stdin(path) && mode(path) & 0o044 != 0 {
        let path = path.display();
        warn(&format!("{path} holds a secret and can be read by others; run `chmod 600 {path}`"));
    }
    Ok(text)
}

/// A Secret saved with `kubectl get secret -o json` or `-o yaml`.
pub(super) fn saved_secret(path: &Path) -> anyhow::Result<Secret> {
    let text = text(path)?;
    Secret::parse(&text).map_err(|error| not_an_object(path, &error).into())
}

/// A ConfigMap saved in the same way.
pub(super) fn saved_config_map(path: &Path) -> anyhow::Result<ConfigMap> {
    let text = text(path)?;
    ConfigMap::parse(&text).map_err(|error| not_an_object(path, &error).into())
}

/// A whole file as bytes.
pub(super) fn bytes(path: &Path) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    // Room for a whole key at once, so that growing leaves no copy of it behind.
    let mut content = Zeroizing::new(Vec::with_capacity(SECRET_BYTES));
    let read = if is_stdin(path) {
        files::bounded(io::stdin().lock(), MAX_BYTES, &mut content)
    } else {
        files::given(path, MAX_BYTES, &mut content)
    };
    read.map_err(|error| unreadable(path, &error))?;
    Ok(content)
}

/// A warning for the operator; nothing ends because of it.
pub(crate) fn warn(sentence: &str) {
    // Nothing is left to tell it to if stderr is closed.
    writeln!(io::stderr(), "mainstay: warning: {sentence}").ok();
}

/// A sentence about progress or success, kept out of stdout so that scripts get results only.
pub(super) fn tell(sentence: &str) {
    // As above.
    writeln!(io::stderr(), "{sentence}").ok();
}

/// Refuses to read two things from stdin, where there is but one.
pub(super) fn one_stdin(paths: &[Option<&Path>]) -> anyhow::Result<()> {
    if paths.iter().flatten().filter(|path| is_stdin(path)).count() > 1 {
        return Err(Stop::usage("only one of the files can be `-`, the standard input").into());
    }
    Ok(())
}

fn text(path: &Path) -> anyhow::Result<Zeroizing<String>> {
    let bytes = bytes(path)?;
    let text = std::str::from_utf8(&bytes);
    let text = text
        .map_err(|_| Stop::usage(format!("{} is not text; is it the right file?", shown(path))))?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// The name that the system has for it, too: what stands behind it may be a terminal or a socket, which
/// cannot be opened or is no file.
fn is_stdin(path: &Path) -> bool {
    path == Path::new("-") || path == Path::new("/dev/stdin")
}

/// The permissions of a file; none if it cannot be asked, as for a pipe of the shell.
fn mode(path: &Path) -> u32 {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => metadata.permissions().mode(),
        _ => 0,
    }
}

fn shown(path: &Path) -> String {
    if is_stdin(path) { "standard input".to_owned() } else { path.display().to_string() }
}

/// Why a file cannot be read, and what to do.
fn unreadable(path: &Path, error: &io::Error) -> Stop {
    let shown = shown(path);
    match error.kind() {
        ErrorKind::NotFound => Stop::usage(format!("there is no file {shown}")),
        ErrorKind::IsADirectory => Stop::usage(format!("{shown} is a directory, not a file")),
        ErrorKind::InvalidInput => Stop::usage(format!("{shown} is no regular file")),
        ErrorKind::TimedOut => Stop::usage(format!("{shown} is a pipe into which nobody writes")),
        ErrorKind::FileTooLarge => {
            Stop::usage(format!("{shown} is longer than 4 MiB; is it the right file?"))
        }
        ErrorKind::PermissionDenied => Stop::new(
            Exit::Refused,
            format!("may not read {shown}; run as root, or as the owner of the file"),
        ),
        _ => Stop::failed(format!("cannot read {shown}: {error}")),
    }
}

fn not_an_object(path: &Path, error: &ObjectError) -> Stop {
    Stop::failed(format!("{}: {error}; save it with `kubectl get -o json`", shown(path)))
}
