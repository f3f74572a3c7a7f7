//! Prints the story, and below it a block of lines that is redrawn in place on a terminal.
//!
//! Without a terminal every line is printed once, and the block only now and then.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Without a terminal, time between two prints of the block.
const PLAIN_INTERVAL: Duration = Duration::from_secs(2);

/// Standard output.
pub(crate) struct Screen {
    terminal: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Lines of the block that stand on the terminal now.
    drawn: usize,
    block: Vec<String>,
    printed: Option<Instant>,
}

impl Screen {
    /// Finds out what standard output is.
    pub(crate) fn new() -> Self {
        Self { terminal: std::io::stdout().is_terminal(), state: Mutex::default() }
    }

    /// Prints a line of the story above the block.
    pub(crate) fn say(&self, line: &str) {
        let mut state = self.state.lock();
        let text = format!("{}{line}\n", erase(state.drawn));
        state.drawn = 0;
        write(&text);
        if self.terminal {
            redraw(&mut state);
        }
    }

    /// Shows a block of lines instead of the one before.
    pub(crate) fn show(&self, block: Vec<String>) {
        let mut state = self.state.lock();
        if self.terminal {
            write(&erase(state.drawn));
            state.drawn = 0;
            state.block = block;
            redraw(&mut state);
        } else if state.printed.is_none_or(|at| at.elapsed() >= PLAIN_INTERVAL) {
            state.printed = Some(Instant::now());
            write(&(block.join("\n") + "\n"));
        }
    }

    /// Leaves the block as it stands; what follows is printed below it.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.drawn = 0;
        state.block.clear();
    }
}

/// Moves up over the block and clears it.
fn erase(drawn: usize) -> String {
    match drawn {
        0 => String::new(),
        lines => format!("\x1b[{lines}A\r\x1b[J"),
    }
}

/// Prints the block. Lines are cut at the edge and not wrapped, so that their number is known.
fn redraw(state: &mut State) {
    let lines: String = state.block.iter().map(|line| format!("{line}\n")).collect();
    write(&format!("\x1b[?7l{lines}\x1b[?7h"));
    state.drawn = state.block.len();
}

/// Whoever closed our output does not want to read on; the story is played to its end anyway.
fn write(text: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).ok();
}
