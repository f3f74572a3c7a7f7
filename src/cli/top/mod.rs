//! `mainstay top`: the status and the decisions of a running balancer, live on a terminal, with keys
//! to drain a backend and to take that back.
//!
//! One thread reads keys and draws; one follows the balancer; one more runs while a verb is under
//! way, so that a slow answer freezes nothing.

mod model;
mod screen;

use std::io::IsTerminal;
use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use clap::Args;
use common::config::AdminAddr;
use common::status::{Explanation, Status};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::running::RunningOptions;
use crate::admin::client;
use crate::admin::follow::{Said, follow};
use crate::exit::{Exit, Stop};
use model::{Input, Key, Model, Todo, Verb};

/// Messages that may wait for the screen; the stream is held up beyond that, and loses nothing.
const MESSAGES_MAX: usize = 64;

/// Longest wait for a key before messages are looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Time between two attempts to reach a balancer that went away.
const RETRY: Duration = Duration::from_secs(1);

/// Watch the balancer on the terminal, live; drain and undrain backends by keys.
///
/// The arrow keys choose a backend, d drains it and u takes that back, both after a question; q
/// leaves. Verbs need the unix socket of the balancer or the token in its state directory. For
/// scripts there are `mainstay status -o json` and `mainstay events --follow`.
#[derive(Args, Debug)]
pub(super) struct Top {
    #[command(flatten)]
    running: RunningOptions,
}

/// The terminal as it was, given back whatever happens.
struct Screen(DefaultTerminal);

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

impl Top {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let admin = self.running.admin()?;
        if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
            let sentence =
                "top needs a terminal; use `mainstay status` or `mainstay events --follow`";
            return Err(Stop::new(Exit::Usage, sentence).into());
        }
        // Before the screen is taken over, so that the usual sentence says what is wrong.
        let status: Status = serde_json::from_slice(&client::get(&admin, "/v1/status")?)?;
        let mut model = Model::default();
        model.take(Input::Status(Box::new(status), Duration::ZERO));
        let (sender, messages) = sync_channel(MESSAGES_MAX);
        let (started, followed) = (Instant::now(), sender.clone());
        std::thread::spawn(move || listen(&admin, started, &followed));
        let mut screen = Screen(ratatui::try_init()?);
        self.watch(&mut screen.0, &mut model, (&sender, &messages))
    }

    fn watch(
        &self,
        terminal: &mut DefaultTerminal,
        model: &mut Model,
        (sender, messages): (&SyncSender<Input>, &Receiver<Input>),
    ) -> anyhow::Result<()> {
        loop {
            terminal.draw(|frame| screen::draw(frame, model))?;
            let pressed = if event::poll(LOOK)? { key(&event::read()?) } else { None };
            let inputs =
                pressed.map(Input::Key).into_iter().chain(messages.try_iter().take(MESSAGES_MAX));
            for input in inputs {
                match model.take(input) {
                    Todo::Draw => {}
                    Todo::Quit => return Ok(()),
                    Todo::Do(verb) => self.change(&verb, sender.clone())?,
                }
            }
        }
    }

    /// Asks the balancer in a thread of its own; what comes of it is a message.
    fn change(&self, verb: &Verb, sender: SyncSender<Input>) -> anyhow::Result<()> {
        let admin = self.running.admin()?;
        let (name, backend) = (verb.name, verb.backend.clone());
        let token = self.running.token(&admin);
        std::thread::spawn(move || {
            let changed = || -> anyhow::Result<String> {
                let path = super::member_path(&backend, Some(name))?;
                let body = client::post(&admin, &path, token?.as_ref())?;
                let answer: Explanation = serde_json::from_slice(&body)?;
                let (state, connections) =
                    (answer.backend.state.name(), answer.backend.connections);
                Ok(format!("{backend} is {state}, {connections} connections"))
            };
            let text = changed().unwrap_or_else(|error| format!("{error:#}"));
            // The screen may have been left meanwhile.
            sender.send(Input::Done(text)).ok();
        });
        Ok(())
    }
}

/// Follows the balancer until the screen is left.
fn listen(admin: &AdminAddr, started: Instant, messages: &SyncSender<Input>) {
    let mut mark: Option<String> = None;
    loop {
        let from = mark.clone();
        let mut left = false;
        let ended = follow(admin, true, from.as_deref(), |said| {
            let input = match said {
                Said::Status(status) => Input::Status(status, started.elapsed()),
                Said::Event { mark: new, event } => {
                    mark = Some(new);
                    Input::Event(Box::new(event))
                }
            };
            left = messages.send(input).is_err();
            if left { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        let reason =
            ended.err().map_or_else(|| "it closed".to_owned(), |error| format!("{error:#}"));
        if left || messages.send(Input::Lost(reason)).is_err() {
            return;
        }
        std::thread::sleep(RETRY);
    }
}

/// What a key of the terminal means; `None` for everything else that a terminal says.
fn key(event: &Event) -> Option<Key> {
    let Event::Key(KeyEvent { code, modifiers, kind: KeyEventKind::Press, .. }) = event else {
        return None;
    };
    Some(match code {
        KeyCode::Char('c') if modifiers.contains(KeyModifiers::CONTROL) => Key::Quit,
        KeyCode::Up | KeyCode::Char('k') => Key::Up,
        KeyCode::Down | KeyCode::Char('j') => Key::Down,
        KeyCode::Char('d') => Key::Drain,
        KeyCode::Char('u') => Key::Undrain,
        KeyCode::Char('y' | 'Y') => Key::Yes,
        KeyCode::Esc | KeyCode::Char('q') => Key::Leave,
        _ => Key::Other,
    })
}

#[cfg(test)]
mod tests;
