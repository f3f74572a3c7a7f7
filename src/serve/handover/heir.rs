//! The new process in a hand-over: drives [`Taking`].

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, bail};
use common::config::Config;
use common::events::EventKind;
use common::status::TookOver;
use lb::Balancer;
use lb::balancer::Predecessor;
use lb::handover::{Arriving, Departure, Estate};
use rustix::stdio::dup2_stdin;
use tokio::sync::Notify;
use tracing::{error, info, warn};

use super::channel::Channel;
use super::frame::{FORMAT, Fixed, Frame, Offer, ProgramRecord, arrivals};
use super::steps::{TakerAct, TakerEvent, Taking};
use super::token::Slot;
use super::{ENVIRONMENT, ENVIRONMENT_VALUE};
use crate::telemetry::BUILD;

/// The channel to an old process that started this one.
#[derive(Debug)]
pub(crate) struct Claim(OwnedFd);

impl Claim {
    /// The claim of this process, if it was started to take over.
    pub(crate) fn from_environment() -> anyhow::Result<Option<Self>> {
        if std::env::var_os(ENVIRONMENT).is_none_or(|value| value != ENVIRONMENT_VALUE) {
            return Ok(None);
        }
        let socket = std::os::fd::AsFd::as_fd(&io::stdin()).try_clone_to_owned()?;
        if rustix::net::sockopt::socket_type(&socket) != Ok(rustix::net::SocketType::SEQPACKET) {
            return Ok(None);
        }
        // The end of the channel must be seen when it is dropped.
        dup2_stdin(std::fs::File::open("/dev/null")?)?;
        Ok(Some(Self(socket)))
    }

    /// Tells the old process why nothing comes of it.
    pub(crate) fn refuse(self, reason: &anyhow::Error) {
        let told = tokio::runtime::Builder::new_current_thread().enable_all().build().and_then(
            |runtime| {
                runtime.block_on(async {
                    let reason = format!("{reason:#}");
                    Channel::new(self.0)?.say(&Frame::Refuse { reason }, &[]).await
                })
            },
        );
        if let Err(error) = told {
            warn!(%error, "cannot tell the old process why it is refused");
        }
    }
}

/// A process that takes over.
#[derive(Debug)]
pub(crate) struct Heir {
    channel: Channel,
    state: Taking,
    slot: Slot,
    offer: Offer,
    sockets: HashMap<String, OwnedFd>,
    estate: Estate,
    program: ProgramRecord,
    received: usize,
    arriving: Arriving,
    /// When the sessions stood still here.
    since: Instant,
    /// For how long they had stood still before.
    standing_ms: u64,
    /// Whether the old process was asked to stop.
    stop: bool,
}

impl Heir {
    /// Says hello and hears what there is.
    ///
    /// # Errors
    /// The old process is gone, or its sockets are not those of this configuration.
    pub(crate) async fn open(claim: Claim, config: &Config) -> anyhow::Result<Self> {
        let mut channel = Channel::new(claim.0)?;
        let hello = Frame::Hello { format: FORMAT, version: BUILD.to_owned() };
        channel.say(&hello, &[]).await?;
        let (offer, handles) = match channel.hear().await? {
            Some((Frame::Offer(offer), handles, _)) => (offer, handles),
            Some(_) => bail!("the old process offers nothing"),
            None => bail!("the old process has ended before it offered anything"),
        };
        if let Some(key) = Fixed::of(config).differs(&offer.fixed) {
            let reason = format!("`{key}` can only be changed by a restart");
            channel.say(&Frame::Refuse { reason: reason.clone() }, &[]).await?;
            bail!(reason);
        }
        let mut handles = handles.into_iter();
        let slot = Slot(handles.next().context("the offer came without its token")?);
        let sockets = offer.sockets.iter().cloned().zip(handles).collect();
        let (state, _) = Taking::Opening.after(TakerEvent::Offer);
        Ok(Self {
            channel,
            state,
            slot,
            offer,
            sockets,
            estate: Estate::default(),
            program: ProgramRecord::default(),
            received: 0,
            arriving: Arriving::default(),
            since: Instant::now(),
            standing_ms: 0,
            stop: false,
        })
    }

    /// What the balancer of this process must know to start.
    pub(crate) fn predecessor(&self) -> &Predecessor {
        &self.offer.predecessor
    }

    /// The listening socket that was passed under this name.
    pub(crate) fn socket(&mut self, name: &str) -> Option<OwnedFd> {
        self.sockets.remove(name)
    }

    /// What the old process knew; whole once [`Heir::take_over`] has returned.
    pub(crate) fn estate(&self) -> &Estate {
        &self.estate
    }

    /// What the old program counted.
    pub(crate) fn program(&self) -> &ProgramRecord {
        &self.program
    }

    /// Receives everything and takes it over. When this returns the sessions move again.
    ///
    /// # Errors
    /// Nothing was taken, and this process is to end.
    pub(crate) async fn take_over(&mut self, balancer: &Balancer) -> anyhow::Result<TookOver> {
        self.channel.say(&Frame::Ready, &[]).await?;
        while self.state != Taking::Owner {
            let (event, reason) = self.next(balancer).await;
            let (next, act) = self.state.after(event);
            self.state = next;
            match act {
                TakerAct::SayHolding => {
                    let frame = Frame::Holding { sessions: self.received };
                    // If it is gone, that is heard next, and everything is here.
                    self.channel.say(&frame, &[]).await.ok();
                }
                TakerAct::TryToken if event == TakerEvent::Closed => {
                    self.try_token_of_the_dying(balancer).await?;
                }
                TakerAct::TryToken => {
                    let taken = self.slot.take();
                    self.decided(taken, balancer).await?;
                }
                TakerAct::Refuse => {
                    let frame = Frame::Refuse { reason: reason.clone() };
                    // It gives us up whether it hears why or not.
                    self.channel.say(&frame, &[]).await.ok();
                    bail!("not taken over: {reason}");
                }
                TakerAct::Leave => bail!("not taken over: {reason}"),
                _ => {}
            }
        }
        let paused = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        let paused_ms = paused.saturating_add(self.standing_ms);
        let (from_pid, sessions) = (self.offer.pid, self.received as u64);
        info!(predecessor = from_pid, sessions, paused_ms, "took over from the process before");
        let text = format!("took over {sessions} sessions from process {from_pid}");
        balancer.journal().note(EventKind::HandedOver, text);
        Ok(TookOver { from_pid, sessions, paused_ms })
    }

    /// The next frame, with what it brings done already: what cannot be done is unfit.
    async fn next(&mut self, balancer: &Balancer) -> (TakerEvent, String) {
        match self.channel.hear().await {
            Ok(Some((frame, handles, bytes))) => {
                match self.take_in(frame, handles, &bytes, balancer).await {
                    Ok(event) => (event, String::new()),
                    Err(error) => (TakerEvent::Unfit, format!("{error:#}")),
                }
            }
            Ok(None) => (TakerEvent::Closed, "the old process is gone".to_owned()),
            Err(error) => (TakerEvent::Unfit, format!("the channel failed: {error}")),
        }
    }

    async fn take_in(
        &mut self,
        frame: Frame,
        handles: Vec<OwnedFd>,
        bytes: &[u8],
        balancer: &Balancer,
    ) -> anyhow::Result<TakerEvent> {
        match frame {
            Frame::Estate { estate, program, standing_ms } if self.state == Taking::Waiting => {
                self.since = Instant::now();
                self.standing_ms = standing_ms;
                balancer.inherit(&estate, handles).context("the ports do not fit")?;
                (self.estate, self.program) = (*estate, program);
                balancer.journal().go_on(std::mem::take(&mut self.program.journal));
                Ok(TakerEvent::Estate)
            }
            Frame::Sessions { sessions } => {
                let arrivals = arrivals(sessions, handles, bytes);
                let arrivals = arrivals.context("sessions and descriptors do not fit")?;
                balancer.receive(arrivals, &mut self.arriving);
                if self.state == Taking::Owner {
                    self.arrived().await?;
                }
                Ok(TakerEvent::Sessions)
            }
            Frame::All { sessions } => {
                self.arrived().await?;
                if sessions != self.received {
                    bail!("{sessions} sessions were sent and {} came", self.received);
                }
                Ok(TakerEvent::All)
            }
            Frame::Bye { later, stop } => {
                self.stop = stop;
                balancer.add_later(&later);
                Ok(TakerEvent::Bye)
            }
            Frame::Yours => Ok(TakerEvent::Unfit),
            _ => bail!("the old process said what makes no sense here"),
        }
    }

    /// Waits until what was sent so far is all here.
    async fn arrived(&mut self) -> anyhow::Result<()> {
        let received = self.arriving.arrived().await;
        self.received += received.context("cannot take a session")?;
        Ok(())
    }

    async fn try_token_of_the_dying(&mut self, balancer: &Balancer) -> anyhow::Result<()> {
        let taken = self.slot.take_from_dying().await;
        self.decided(taken, balancer).await
    }

    async fn decided(&mut self, taken: bool, balancer: &Balancer) -> anyhow::Result<()> {
        let event = if taken { TakerEvent::Token } else { TakerEvent::NoToken };
        let (next, act) = self.state.after(event);
        self.state = next;
        if act != TakerAct::Begin {
            bail!("not taken over: the old process took it back");
        }
        balancer.go_on(Departure::default()).await;
        // If it is gone we are alone, and notice when we listen for what follows.
        self.channel.say(&Frame::Taken, &[]).await.ok();
        Ok(())
    }

    /// Takes what the old process still sends, until it is gone. Notifies `stop` if that was asked to
    /// stop.
    pub(crate) async fn follow(mut self, balancer: Arc<Balancer>, stop: Arc<Notify>) {
        while self.state == Taking::Owner {
            let (event, reason) = self.next(&balancer).await;
            let (next, act) = self.state.after(event);
            self.state = next;
            if event == TakerEvent::Unfit {
                error!(reason, "hand-over: what followed is lost");
            }
            if act == TakerAct::ReceiveAndGoOn {
                balancer.go_on(Departure::default()).await;
            }
        }
        info!(predecessor = self.offer.pid, "hand-over: the old process has ended");
        if self.stop {
            info!("hand-over: the old process was asked to stop, so this one does");
            stop.notify_one();
        }
    }
}
