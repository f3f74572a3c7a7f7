//! `mainstay man`: the manual pages, made from the command line and from the table of keys.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, Command};
use common::config::keys::{KEYS, Key, plain};

use super::input::tell;
use crate::exit::Stop;

/// Write the manual pages into a directory.
///
/// One page for each command into DIR/man1, and one for the configuration file into DIR/man5. Packages
/// use this; by hand: mainstay man /usr/local/share/man
#[derive(Args, Debug)]
pub(super) struct Man {
    /// The directory above man1 and man5.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

impl Man {
    pub(super) fn run(self, cli: Command) -> anyhow::Result<()> {
        let (commands, files) = (self.dir.join("man1"), self.dir.join("man5"));
        let failed = |error: std::io::Error| {
            Stop::failed(format!("cannot write into {}: {error}", self.dir.display()))
        };
        for dir in [&commands, &files] {
            std::fs::create_dir_all(dir).map_err(failed)?;
        }
        clap_mangen::generate_to(cli, &commands).map_err(failed)?;
        write(&files.join("mainstay.toml.5"), &configuration()).map_err(failed)?;
        tell(&format!("manual pages written to {}", self.dir.display()));
        Ok(())
    }
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    File::create(path)?.write_all(text.as_bytes())
}

/// mainstay.toml(5).
fn configuration() -> String {
    let mut page = String::from(
        ".TH mainstay.toml 5\n.SH NAME\nmainstay.toml \\- configuration of the Mainstay balancer\n\
         .SH DESCRIPTION\nRead from /etc/mainstay/mainstay.toml if it exists, or from the file that \
         \\-\\-config names. Every key is optional; flags override the file. A key that is not listed \
         here is an error.\n.PP\nDurations are written as 30s, 1s 500ms or 65m.\n.SH KEYS\n",
    );
    for key in KEYS {
        page.push_str(&entry(key));
    }
    page.push_str(".SH SEE ALSO\nmainstay\\-serve(1), mainstay\\-check(1)\n");
    page
}

fn entry(key: &Key) -> String {
    let Key { name, default, flag, reload, doc, .. } = key;
    let default = if default.is_empty() { "none" } else { default };
    let flag = if flag.is_empty() { String::new() } else { format!(", flag {flag}") };
    let reload = if *reload { "a reload applies it" } else { "needs a restart" };
    format!(
        ".TP\n.B {}\n{}\n.br\nDefault: {}{}; {reload}.\n",
        roff(name),
        roff(&plain(doc).replace('`', "")),
        roff(default),
        roff(&flag)
    )
}

/// Text that roff shows as it is.
fn roff(text: &str) -> String {
    let escaped = text.replace('\\', "\\e").replace('-', "\\-");
    // A line that begins so would be a command.
    match escaped.starts_with(['.', '\'']) {
        true => format!("\\&{escaped}"),
        false => escaped,
    }
}
