//! What the operator set: from flags, the file and the defaults to one checked [`Config`].
//!
//! Three steps, each of which can be tested alone: [`keys`] declares every key once; [`layers`]
//! collects the raw values with the place each came from; [`Config::checked`] parses them into
//! types that cannot hold a wrong value. What is wrong is said with file, line and way out.

pub mod address;
mod checked;
mod file;
mod join;
pub mod keys;
pub mod layers;
mod ports;

pub use address::{AdminAddr, ListenAddr};
pub use checked::{Cluster, Config, Limits, LogFormat, ProbeKind, Timeouts};
pub use join::Join;
pub use layers::{Layers, Origin, Setting, Value};

/// Where the packages put the file; read when it exists and no `--config` names another.
pub const DEFAULT_PATH: &str = "/etc/mainstay/mainstay.toml";

/// Why a configuration cannot be used. All of them are the operator's to mend; nothing is retried.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read the configuration {path}: {reason}")]
    Unreadable {
        /// The file.
        path: String,
        /// The system's reason, with what to do.
        reason: String,
    },
    /// The file is no TOML.
    #[error("{path}:{line}: not valid TOML: {reason}")]
    Syntax {
        /// The file.
        path: String,
        /// Line of the fault, from 1.
        line: usize,
        /// What the parser says.
        reason: String,
    },
    /// The file has a key that does not exist.
    #[error("{path}:{line}: unknown key `{key}`{hint}")]
    UnknownKey {
        /// The file.
        path: String,
        /// Line of the key, from 1.
        line: usize,
        /// The key as written, dotted.
        key: String,
        /// The nearest valid key, or where to find them all.
        hint: String,
    },
    /// A value stands where a table of keys belongs.
    #[error(
        "{path}:{line}: {table}: is {found}; it is a table, so that its keys stand below a line \
         [{table}]"
    )]
    NoTable {
        /// The file.
        path: String,
        /// Line of the key, from 1.
        line: usize,
        /// The name of the table.
        table: String,
        /// What stands there.
        found: &'static str,
    },
    /// A value is wrong.
    #[error("{origin}: {key}: {reason}")]
    Value {
        /// Where the value was set.
        origin: Origin,
        /// The dotted key.
        key: &'static str,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// A program error: a key was asked for with another shape than it was declared with.
    #[error("internal: the key `{0}` is not declared with the shape it is read with")]
    Undeclared(&'static str),
}
