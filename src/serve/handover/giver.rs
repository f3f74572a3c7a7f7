//! The old process in a hand-over: drives [`Giving`].

mod send;

use std::os::fd::OwnedFd;
use std::process::Child;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use common::Tasks;
use common::config::Config;
use common::events::EventKind;
use lb::handover::{Departure, Estate};
use rustix::process::setpriority_process;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{error, info, warn};

use super::channel::Channel;
use super::frame::{FORMAT, Fixed, Frame};
use super::launch::launch;
use super::steps::{GiverAct, GiverEvent, Giving};
use super::token::Mint;
use crate::admin::Report;
use crate::serve::signals::Signals;

/// Longest wait for the new process to speak and to be ready: it reads its configuration.
const PREPARE_MAX: Duration = Duration::from_secs(10);

/// Longest time that sessions stand still. A new process that is not faster is given up.
const MOVE_MAX: Duration = Duration::from_secs(5);

/// Longest wait for the new process to read the token.
const DECIDE_MAX: Duration = Duration::from_secs(5);

/// Longest time that connections which are being established are waited for: the longest silence of
/// a client and the longest search for a backend, by default 18 s.
const FOLLOW_MAX: Duration = Duration::from_secs(40);

/// Niceness of the thread that closes what was handed over: a tenth of the processor where that is
/// busy, because a session that ends meanwhile is closed to its peer only when we have let go of it.
const TIDY_NICE: i32 = 10;

/// Time between two looks at them.
const FOLLOW_STEP: Duration = Duration::from_millis(20);

/// Why it is given up for a stop.
const STOP_ASKED: &str = "this process is asked to stop";

/// Process id of the first process of a container.
const FIRST: u32 = 1;

/// A listening socket or a lock that is passed on under a name.
#[derive(Debug)]
pub(crate) struct Passed {
    /// By which the new process finds it.
    pub(crate) name: &'static str,
    /// A handle of it.
    pub(crate) socket: OwnedFd,
}

/// How a hand-over ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// This process goes on.
    Kept,
    /// The same, and it is asked to stop.
    KeptAndStop,
    /// This process has nothing left.
    Gone,
}

/// What this process can hand over.
#[derive(Debug)]
pub(crate) struct Giver {
    report: Arc<Report>,
    fixed: Fixed,
    passed: Vec<Passed>,
}

impl Giver {
    pub(crate) fn new(report: Arc<Report>, config: &Config, passed: Vec<Passed>) -> Self {
        Self { report, fixed: Fixed::of(config), passed }
    }

    /// Hands everything over, once what came from `predecessor` is all here. `released` is called
    /// with the process id of the new process when that owns it.
    pub(crate) async fn hand_over(
        &self,
        signals: &mut Signals,
        predecessor: &Tasks,
        released: impl FnMut(u32),
    ) -> Outcome {
        self.report.desk().enter("the process before must end first");
        tokio::select! {
            there = followed(predecessor) => if !there {
                give_up(&self.report, "the process before has not ended yet; try again in a minute");
                return Outcome::Kept;
            },
            () = signals.stop() => {
                give_up(&self.report, STOP_ASKED);
                return Outcome::KeptAndStop;
            }
        }
        let outcome = self.attempt(signals, released).await;
        signals.forget_upgrade().await;
        outcome
    }

    async fn attempt(&self, signals: &mut Signals, mut released: impl FnMut(u32)) -> Outcome {
        let mut attempt = match Attempt::begin(self) {
            Ok(attempt) => attempt,
            Err(error) => {
                give_up(&self.report, &format!("{error:#}"));
                return Outcome::Kept;
            }
        };
        let mut state = Giving::Starting;
        loop {
            let event = attempt.next_event(state, signals).await;
            let (next, act) = state.after(event);
            state = next;
            if act == GiverAct::Part {
                // One that came in the last moment would be lost with this process.
                attempt.stop_requested |= signals.stop_waits().await;
            }
            attempt.act(act, &mut released).await;
            match state {
                Giving::Gone => return Outcome::Gone,
                Giving::Kept if attempt.stop_requested => return Outcome::KeptAndStop,
                Giving::Kept => return Outcome::Kept,
                _ => {}
            }
        }
    }
}

/// Whether everything of the process before is here.
async fn followed(predecessor: &Tasks) -> bool {
    let gone = async {
        while predecessor.running() > 0 {
            sleep(FOLLOW_STEP).await;
        }
    };
    timeout(FOLLOW_MAX, gone).await.is_ok()
}

/// Closes our handles of sockets that another process goes on with: tens of milliseconds of work for
/// some thousand, and the processor belongs to the streams that move again.
fn tidy_away(departure: Departure) {
    let tidy = move || {
        // Refused, it is only less polite.
        setpriority_process(None, TIDY_NICE).ok();
        drop(departure);
    };
    if let Err(error) = std::thread::Builder::new().name("tidy-away".to_owned()).spawn(tidy) {
        warn!(%error, "hand-over: no thread to close sockets with; they are closed now");
    }
}

fn give_up(report: &Report, reason: &str) {
    error!(reason, "hand-over given up; this process goes on as before");
    let text = format!("given up: {reason}");
    report.balancer().journal().note(EventKind::HandedOver, text);
    report.desk().failed(reason.to_owned());
}

/// One try with one new process.
struct Attempt<'a> {
    giver: &'a Giver,
    report: &'a Report,
    channel: Channel,
    child: Child,
    mint: Mint,
    /// What stands still.
    departure: Departure,
    /// Held while the keeper decides nothing.
    resume: Option<oneshot::Sender<()>>,
    /// As it travelled.
    estate: Estate,
    deadline: Instant,
    /// What an act led to.
    pending: Option<GiverEvent>,
    reason: String,
    stop_requested: bool,
}

impl<'a> Attempt<'a> {
    fn begin(giver: &'a Giver) -> anyhow::Result<Self> {
        // The kernel kills whatever is left in the container, so also who took over.
        ensure!(
            std::process::id() != FIRST,
            "this process is the first of its container, which would end with it; restart the container instead"
        );
        let (channel, theirs) = Channel::pair()?;
        let mint = Mint::new()?;
        let child = launch(theirs)?;
        info!(successor = child.id(), "hand-over: new process started");
        giver.report.desk().enter("new process started");
        Ok(Self {
            giver,
            report: &giver.report,
            channel,
            child,
            mint,
            departure: Departure::default(),
            resume: None,
            estate: Estate::default(),
            deadline: Instant::now() + PREPARE_MAX,
            pending: None,
            reason: String::new(),
            stop_requested: false,
        })
    }

    async fn next_event(&mut self, state: Giving, signals: &mut Signals) -> GiverEvent {
        if let Some(event) = self.pending.take() {
            return event;
        }
        if state == Giving::Following {
            return self.follow(signals).await;
        }
        // All that the new process says before that is one packet, so nothing is lost between two.
        tokio::select! {
            event = self.listen() => event,
            () = signals.stop() => self.stop_asked(),
        }
    }

    fn stop_asked(&mut self) -> GiverEvent {
        self.stop_requested = true;
        self.unfit(STOP_ASKED);
        GiverEvent::StopRequested
    }

    /// What the new process says, until the deadline.
    async fn listen(&mut self) -> GiverEvent {
        let Ok(heard) = timeout_at(self.deadline, self.channel.hear()).await else {
            return self.stalled();
        };
        match heard {
            Ok(Some((frame, _, _))) => self.understand(frame),
            Ok(None) => {
                let ended = self.child.try_wait().ok().flatten();
                let how = ended.map_or_else(String::new, |status| format!(" ({status})"));
                self.unfit(&format!("the new process ended{how}"))
            }
            Err(error) => self.unfit(&format!("the new process speaks another format: {error}")),
        }
    }

    fn understand(&mut self, frame: Frame) -> GiverEvent {
        match frame {
            Frame::Hello { format, .. } if format == FORMAT => GiverEvent::Hello,
            Frame::Hello { format, version } => self.unfit(&format!(
                "the new process ({version}) speaks version {format} of the format, this one {FORMAT}; restart instead"
            )),
            Frame::Refuse { reason } => self.unfit(&format!("the new process refuses: {reason}")),
            Frame::Ready => GiverEvent::Ready,
            Frame::Holding { sessions } if sessions == self.departure.len() => GiverEvent::Holding,
            Frame::Taken => GiverEvent::Taken,
            _ => self.unfit("the new process said what makes no sense here"),
        }
    }

    fn unfit(&mut self, reason: &str) -> GiverEvent {
        reason.clone_into(&mut self.reason);
        GiverEvent::Unfit
    }

    fn stalled(&mut self) -> GiverEvent {
        self.unfit("the new process said nothing for too long");
        GiverEvent::Stalled
    }

    /// Sends on what has been established since, until nothing is left.
    async fn follow(&mut self, signals: &mut Signals) -> GiverEvent {
        loop {
            let later = self.report.balancer().departed();
            if !later.is_empty()
                && let Err(error) = send::send_sessions(&mut self.channel, &later).await
            {
                warn!(%error, sessions = later.len(), "hand-over: late sessions lost");
                return GiverEvent::Unfit;
            }
            drop(later);
            if self.report.balancer().open_connections() == 0 {
                return GiverEvent::NoneLeft;
            }
            if Instant::now() >= self.deadline {
                return GiverEvent::Stalled;
            }
            tokio::select! {
                _ = self.channel.hear() => return GiverEvent::Unfit,
                () = signals.stop() => return self.stop_asked(),
                () = sleep(FOLLOW_STEP) => {}
            }
        }
    }

    async fn act(&mut self, act: GiverAct, released: &mut impl FnMut(u32)) {
        let done = match act {
            GiverAct::Wait => Ok(()),
            GiverAct::Offer => self.offer().await,
            GiverAct::Move => self.move_all().await,
            GiverAct::Decide => self.decide().await,
            GiverAct::TakeBack => {
                let back = self.mint.take_back();
                self.pending =
                    Some(if back { GiverEvent::TokenBack } else { GiverEvent::TokenGone });
                Ok(())
            }
            GiverAct::GoOn => {
                self.end_child();
                self.go_on().await;
                give_up(self.report, &self.reason);
                Ok(())
            }
            GiverAct::GoOnWithout => {
                self.end_child();
                let lost = self.departure.len();
                std::mem::take(&mut self.departure).reset();
                self.go_on().await;
                error!(sessions = lost, "the new process had taken the sessions; they are lost");
                give_up(self.report, &self.reason);
                Ok(())
            }
            GiverAct::LetGo => {
                self.let_go(released);
                Ok(())
            }
            GiverAct::Part => self.part().await,
        };
        if let Err(error) = done {
            self.pending.get_or_insert(GiverEvent::Unfit);
            self.reason = format!("cannot tell the new process: {error:#}");
        }
    }

    fn end_child(&mut self) {
        // Both fail only if it has ended. It must be dead before its sessions go on here.
        self.child.kill().ok();
        self.child.wait().ok();
    }

    async fn go_on(&mut self) {
        let departure = std::mem::take(&mut self.departure);
        self.report.balancer().go_on(departure).await;
        self.resume = None;
    }

    fn let_go(&mut self, released: &mut impl FnMut(u32)) {
        let successor = self.child.id();
        released(successor);
        let sessions = self.departure.len();
        tidy_away(std::mem::take(&mut self.departure));
        self.report.balancer().let_go();
        self.deadline = Instant::now() + FOLLOW_MAX;
        if self.stop_requested {
            self.pending = Some(GiverEvent::StopRequested);
        }
        info!(successor, sessions, "handed over; this process ends");
    }
}
