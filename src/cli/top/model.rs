//! What `mainstay top` knows and does with a key or a message: pure, it reads no clock and draws
//! nothing.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use common::events::Event;
use common::status::{BackendStatus, Status};

/// Decisions that are kept for the screen: more than fit on any.
pub(super) const EVENTS_MAX: usize = 200;

/// Points of a trend: a minute.
pub(super) const POINTS: usize = 60;

/// The time over which rates are told: long enough to be calm, short enough to be true.
const SPAN: Duration = Duration::from_secs(5);

/// What may happen.
#[derive(Debug)]
pub(super) enum Input {
    /// A status came, at this time since the start.
    Status(Box<Status>, Duration),
    /// A decision came.
    Event(Box<Event>),
    /// The balancer cannot be reached.
    Lost(String),
    /// What a verb led to.
    Done(String),
    /// A key was pressed.
    Key(Key),
}

/// The keys that mean something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// To the row above.
    Up,
    /// To the row below.
    Down,
    /// Ask whether to drain.
    Drain,
    /// Ask whether to take a drain back.
    Undrain,
    /// Do it.
    Yes,
    /// Leave the question, or the program.
    Leave,
    /// Leave the program.
    Quit,
    /// Anything else: no to a question.
    Other,
}

/// A change that an operator asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verb {
    /// `drain` or `undrain`.
    pub(super) name: &'static str,
    /// Name of the backend.
    pub(super) backend: String,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Todo {
    /// Nothing but to draw.
    Draw,
    /// End.
    Quit,
    /// Ask the balancer for this.
    Do(Verb),
}

/// Everything that the screen shows.
#[derive(Debug, Default)]
pub(super) struct Model {
    /// The last status.
    pub(super) status: Option<Box<Status>>,
    /// Decisions, oldest first.
    pub(super) events: VecDeque<Event>,
    /// The row that is chosen.
    pub(super) chosen: usize,
    /// A question that waits for its answer.
    pub(super) question: Option<Verb>,
    /// A line for the operator.
    pub(super) notice: Option<String>,
    /// Why nothing is heard of the balancer.
    pub(super) lost: Option<String>,
    samples: VecDeque<(Duration, Box<Status>)>,
    trends: HashMap<String, VecDeque<u64>>,
}

impl Model {
    /// Takes note of what happened.
    pub(super) fn take(&mut self, input: Input) -> Todo {
        match input {
            Input::Status(status, at) => self.hear(status, at),
            Input::Event(event) => self.remember(*event),
            Input::Lost(reason) => self.lost = Some(reason),
            Input::Done(text) => self.notice = Some(text),
            Input::Key(key) => return self.press(key),
        }
        Todo::Draw
    }

    fn hear(&mut self, status: Box<Status>, at: Duration) {
        self.lost = None;
        let restarted = self.samples.back().is_some_and(|(_, before)| before.pid != status.pid);
        if restarted {
            self.samples.clear();
            self.trends.clear();
            self.events.clear();
        }
        for row in &status.backends {
            let trend = self.trends.entry(row.name.clone()).or_default();
            trend.push_back(row.connections);
            if trend.len() > POINTS {
                trend.pop_front();
            }
        }
        self.trends.retain(|name, _| status.backends.iter().any(|row| row.name == *name));
        self.chosen = self.chosen.min(status.backends.len().saturating_sub(1));
        self.samples.push_back((at, status.clone()));
        while self.samples.len() > 2
            && self.samples.front().is_some_and(|(first, _)| at.saturating_sub(*first) > SPAN)
        {
            self.samples.pop_front();
        }
        self.status = Some(status);
    }

    fn remember(&mut self, event: Event) {
        // After a lost connection to the same balancer, what was heard already comes first.
        if self.events.contains(&event) {
            return;
        }
        self.events.push_back(event);
        if self.events.len() > EVENTS_MAX {
            self.events.pop_front();
        }
    }

    fn press(&mut self, key: Key) -> Todo {
        let rows = self.status.as_ref().map_or(0, |status| status.backends.len());
        if let Some(verb) = self.question.take() {
            return match key {
                Key::Yes => Todo::Do(verb),
                Key::Quit => Todo::Quit,
                _ => Todo::Draw,
            };
        }
        self.notice = None;
        match key {
            Key::Leave | Key::Quit => return Todo::Quit,
            Key::Up => self.chosen = self.chosen.saturating_sub(1),
            Key::Down => self.chosen = (self.chosen + 1).min(rows.saturating_sub(1)),
            Key::Drain => self.ask("drain"),
            Key::Undrain => self.ask("undrain"),
            Key::Yes | Key::Other => {}
        }
        Todo::Draw
    }

    fn ask(&mut self, name: &'static str) {
        let backend = self.chosen_row().map(|row| row.name.clone());
        self.question = backend.map(|backend| Verb { name, backend });
    }

    /// The row that is chosen.
    pub(super) fn chosen_row(&self) -> Option<&BackendStatus> {
        self.status.as_ref()?.backends.get(self.chosen)
    }

    /// How much a count grew in a second of late.
    pub(super) fn rate(&self, of: impl Fn(&Status) -> Option<u64>) -> Option<f64> {
        let ((first, before), (last, now)) = (self.samples.front()?, self.samples.back()?);
        let span = last.saturating_sub(*first).as_secs_f64();
        let grown = of(now)?.checked_sub(of(before)?)?;
        (span > 0.0).then(|| grown as f64 / span)
    }

    /// As [`Model::rate`], of one backend.
    pub(super) fn rate_of(&self, name: &str, of: fn(&BackendStatus) -> u64) -> Option<f64> {
        self.rate(|status| Some(of(status.backends.iter().find(|row| row.name == name)?)))
    }

    /// The connections of a backend in the last minute, oldest first.
    pub(super) fn trend(&self, name: &str) -> Vec<u64> {
        self.trends.get(name).map(|trend| trend.iter().copied().collect()).unwrap_or_default()
    }
}
