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
    writeln!(std::io::stderr(), "mainstay: {}", without_numbers(&format!("{error:#}"))).ok();
    ExitCode::from(exit as u8)
}

/// A sentence without the ` (os error 2)` of the system's errors, whose words say the same.
fn without_numbers(sentence: &str) -> String {
    let mut parts = sentence.split(" (os error ");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix(')') {
            Some(rest) => plain.push_str(rest),
            None => plain.extend([" (os error ", part]),
        }
    }
    plain
}

/// Whoever reads our output had enough, as `head` does: that is no failure.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind)
    };
    error.chain().any(|cause| io(cause) == Some(ErrorKind::BrokenPipe))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_numbers_of_errors_go() {
        for (sentence, plain) in [
            ("cannot read x: Not a directory (os error 20)", "cannot read x: Not a directory"),
            ("a: b (os error 2); c: d (os error 13)!", "a: b; c: d!"),
            ("no file `x (os error y)`", "no file `x (os error y)`"),
            ("", ""),
        ] {
            assert_eq!(without_numbers(sentence), plain);
        }
    }
}
