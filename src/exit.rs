//! Exit codes with a meaning, after `sysexits.h`, so that scripts need not read our sentences.

use std::fmt::Display;
use std::io::{ErrorKind, Write};
use std::process::ExitCode;

/// How the program ends when it does not end well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It failed for a reason that has no code of its own.
    Failed = 1,
    /// The command line or the configuration is wrong.
    Usage = 64,
    /// Something it needs is not there: the port is taken, nobody answers.
    Unavailable = 69,
    /// It did not work now, but may later: a server does not answer.
    TryAgain = 75,
    /// It may not do that.
    Refused = 77,
}

/// A sentence for the operator and the code to end with.
#[derive(Debug, thiserror::Error)]
#[error("{sentence}")]
pub(crate) struct Stop {
    exit: Exit,
    sentence: String,
}

impl Stop {
    /// Ends with this code and sentence.
    pub(crate) fn new(exit: Exit, sentence: impl Display) -> Self {
        Self { exit, sentence: sentence.to_string() }
    }

    /// The code that it ends with.
    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    /// Ends because the command line or a value it names is wrong.
    pub(crate) fn usage(sentence: impl Display) -> Self {
        Self::new(Exit::Usage, sentence)
    }

    /// Ends because it did not work.
    pub(crate) fn failed(sentence: impl Display) -> Self {
        Self::new(Exit::Failed, sentence)
    }
}

/// The code for what a subcommand returned; an error is printed once, on stderr.
pub(crate) fn code_of(result: anyhow::Result<()>) -> ExitCode {
    let Err(error) = result else {
        return ExitCode::SUCCESS;
    };
    if is_broken_pipe(&error) {
        return ExitCode::SUCCESS;
    }
    let exit = error.downcast_ref::<Stop>().map_or(Exit::Failed, |stop| stop.exit);
    // Nothing is left to tell it to if stderr is closed.
    writeln!(std::io::stderr(), "mainstay: {error:#}").ok();
    ExitCode::from(exit as u8)
}

/// Whoever reads our output had enough, as `head` does: that is no failure.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind)
    };
    error.chain().any(|cause| io(cause) == Some(ErrorKind::BrokenPipe))
}
