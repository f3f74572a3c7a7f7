//! The configuration of another balancer, said in our words.
//!
//! Pure: a text goes in, a `mainstay.toml` and the list of what was left behind come out. Reading is
//! tolerant (whoever changes balancers has a file that works, with much in it that is none of our
//! business), writing is strict: what comes out has passed the checks of [`Config`].

mod address;
mod haproxy;
mod haproxy_lines;
mod haproxy_words;
mod nginx;
mod nginx_blocks;
mod nginx_words;
mod proxy;
mod render;
mod settings;
mod time;

use std::path::Path;

use common::config::{Config, Layers};

pub(crate) use proxy::{Note, Weight};

use proxy::{Proxy, Reading};

/// Whose file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// `nginx.conf` with a `stream` block.
    Nginx,
    /// `haproxy.cfg`.
    Haproxy,
}

/// Why a file cannot be imported. All of them are the operator's to mend.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum ImportError {
    /// Nothing but blanks and comments.
    #[error("there is nothing in it to import")]
    Empty,
    /// Bytes that no configuration has.
    #[error("it is no text, so it is no configuration")]
    Binary,
    /// A template that nobody has filled in.
    #[error("line {0}: this is a template; import the file that is made from it")]
    Template(usize),
    /// The balancer it is from would not take it either.
    #[error("line {line}: {reason}")]
    Syntax { line: usize, reason: String },
    /// Nothing in it is a TCP balancer.
    #[error("{0}")]
    NoProxy(String),
    /// More than one section may be meant.
    #[error("several sections could be meant; choose one with --section: {0}")]
    Several(String),
    /// The section that was asked for is not there.
    #[error("there is no section `{wanted}`; there is: {known}")]
    Unknown { wanted: String, known: String },
    /// It says something that this program refuses.
    #[error("section `{section}` cannot be used: {reason}")]
    Unusable { section: String, reason: String },
}

/// What came out.
#[derive(Debug)]
pub(crate) struct Imported {
    /// The new configuration.
    pub(crate) toml: String,
    /// The section that it is made from, with its line.
    pub(crate) section: String,
    pub(crate) line: usize,
    /// How many backends it has.
    pub(crate) backends: usize,
    /// What was left behind, by line.
    pub(crate) notes: Vec<Note>,
}

/// Imports the text of the file `name`.
pub(crate) fn import(
    bytes: &[u8],
    name: &str,
    format: Option<Format>,
    section: Option<&str>,
) -> Result<Imported, ImportError> {
    let text = text_of(bytes)?;
    let format = format.unwrap_or_else(|| guess(&text));
    let reading = match format {
        Format::Nginx => nginx::read(&text)?,
        Format::Haproxy => haproxy::read(&text)?,
    };
    let Reading { proxies, notes } = reading;
    let mut proxy = proxy::choose(proxies, section)?;
    proxy.notes.extend(notes);
    finish(proxy, name)
}

fn finish(mut proxy: Proxy, name: &str) -> Result<Imported, ImportError> {
    proxy.tidy();
    let toml = render::toml(&proxy, name);
    let refused = |reason: String| ImportError::Unusable { section: proxy.name.clone(), reason };
    let layers = Layers::from_text(&toml, Path::new("mainstay.toml"));
    let config = layers.and_then(|layers| Config::checked(&layers));
    let config = config.map_err(|error| refused(error.to_string()))?;
    proxy.notes.sort_by_key(|note| note.line);
    Ok(Imported {
        toml,
        backends: config.backends.len(),
        section: proxy.name,
        line: proxy.line,
        notes: proxy.notes,
    })
}

/// The bytes as text. Comments in an older encoding do no harm, so they are passed over.
fn text_of(bytes: &[u8]) -> Result<String, ImportError> {
    if bytes.contains(&0) {
        return Err(ImportError::Binary);
    }
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_start_matches('\u{feff}');
    let broken = text.chars().filter(|c| *c == char::REPLACEMENT_CHARACTER).count();
    if broken > text.len() / 10 {
        return Err(ImportError::Binary);
    }
    let said = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    if !text.lines().any(said) {
        return Err(ImportError::Empty);
    }
    let mark = |line: &str| line.contains("{%") || line.contains("{{ ");
    if let Some(line) = text.lines().position(|line| said(line) && mark(line)) {
        return Err(ImportError::Template(line + 1));
    }
    Ok(text.to_owned())
}

/// HAProxy's file begins with a section, which is a word at the start of a line; in NGINX's every
/// statement ends with `;` or begins a block.
fn guess(text: &str) -> Format {
    let mut lines = text.lines().map(str::trim);
    let first = lines.find(|line| !line.is_empty() && !line.starts_with('#')).unwrap_or_default();
    let word = first.split_whitespace().next().unwrap_or_default();
    let blocks = first.contains(['{', ';']);
    if haproxy::is_section(word) && !blocks { Format::Haproxy } else { Format::Nginx }
}

#[cfg(test)]
mod tests;
