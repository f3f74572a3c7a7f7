//! The load generator: sets up what a scenario needs, lets it run, and says what came through in
//! between. The caller holds the clock, so that the proxy's account can be read at the same moments.

mod bulk;
mod connect;
mod exchange;
mod kube;
mod meter;
mod open;
mod probe;
mod sessions;

use std::{
    future::Future,
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use tokio_rustls::TlsConnector;

use self::meter::{Meter, Meters};
pub(crate) use self::{meter::Measured, probe::reaches_all};
use crate::{
    scenario::{Scenario, Work},
    threads::Threads,
};

/// How long a scenario may take to set up: 9 000 sessions through a slow balancer, with room.
const SETUP_LIMIT: Duration = Duration::from_secs(60);

/// How often it is looked whether all is set up.
const SETUP_POLL: Duration = Duration::from_millis(2);

/// How long a client rests after an error, so that a refusing proxy does not make it spin.
const RETRY_PAUSE: Duration = Duration::from_millis(10);

/// A scenario under way. Dropping it closes all its connections.
pub(crate) struct Load {
    // The threads go first: their tasks write into the meters.
    threads: Threads,
    meters: Meters,
    targets: Vec<SocketAddr>,
    begun: Option<Instant>,
}

impl Load {
    /// Sets `scenario` up against `targets`, which are used in turn, and returns once every
    /// connection has carried something.
    pub(crate) async fn start(
        scenario: &Scenario,
        targets: &[SocketAddr],
        threads: usize,
        tls: Option<&TlsConnector>,
    ) -> Result<Self> {
        let load = Self {
            threads: Threads::start(threads)?,
            meters: Meters::new(threads),
            targets: targets.to_vec(),
            begun: None,
        };
        load.hold_sessions(scenario.background)?;
        load.ready(scenario.background).await?;
        let clients = load.start_work(scenario.work, tls)?;
        load.ready(scenario.background + clients).await?;
        Ok(load)
    }

    /// Starts to count.
    pub(crate) fn begin(&mut self) {
        self.begun = Some(Instant::now());
        self.meters.count(true);
    }

    /// Stops counting, closes everything, and tells what was counted.
    pub(crate) fn end(self) -> Measured {
        self.meters.count(false);
        let seconds = self.begun.map_or(0.0, |begun| begun.elapsed().as_secs_f64());
        drop(self.threads);
        self.meters.sum(seconds)
    }

    fn hold_sessions(&self, sessions: usize) -> Result<()> {
        for lane in 0..sessions.min(sessions::LANES) {
            let share = (sessions - lane).div_ceil(sessions::LANES);
            self.client(lane, |target, meter| sessions::hold(target, share, meter))?;
        }
        Ok(())
    }

    /// Starts the clients and says how many they are.
    fn start_work(&self, work: Work, tls: Option<&TlsConnector>) -> Result<usize> {
        match work {
            Work::Exchange { connections, answer } => self
                .clients(connections, |target, _, meter| exchange::repeat(target, answer, meter)),
            Work::Connect { connections } => self.clients(connections, connect::repeat),
            Work::Bulk { connections, direction } => {
                self.clients(connections, |target, _, meter| bulk::stream(target, direction, meter))
            }
            Work::Open { connections, answer, rate } => {
                let pace = open::Pace { connections, answer, rate };
                open::start(&self.threads, &self.meters, &self.targets, pace)?;
                Ok(connections)
            }
            Work::Idle => Ok(0),
            Work::Kube => {
                let tls = tls.context("this scenario needs backends that speak TLS; use `run`")?;
                let mut clients = 0;
                for part in kube::PARTS {
                    clients += self.clients(part.clients(), |target, _, meter| {
                        kube::repeat(part, target, tls.clone(), meter)
                    })?;
                }
                Ok(clients)
            }
        }
    }

    fn clients<F, C>(&self, count: usize, client: F) -> Result<usize>
    where
        F: Fn(SocketAddr, usize, Meter) -> C,
        C: Future<Output = ()> + Send + 'static,
    {
        for number in 0..count {
            self.client(number, |target, meter| client(target, number, meter))?;
        }
        Ok(count)
    }

    fn client<F, C>(&self, number: usize, client: F) -> Result<()>
    where
        F: FnOnce(SocketAddr, Meter) -> C,
        C: Future<Output = ()> + Send + 'static,
    {
        let client = client(target(&self.targets, number), self.meters.of_thread(number));
        self.threads.run(number, move |tasks| {
            tasks.spawn(client);
        })
    }

    /// Waits until `wanted` sessions have carried something.
    async fn ready(&self, wanted: usize) -> Result<()> {
        let limit = Instant::now() + SETUP_LIMIT;
        while self.meters.ready() < wanted {
            if Instant::now() > limit {
                let ready = self.meters.ready();
                let fault = self.meters.fault().unwrap_or_else(|| "no error was seen".to_owned());
                bail!("only {ready} of {wanted} sessions came up: {fault}");
            }
            tokio::time::sleep(SETUP_POLL).await;
        }
        Ok(())
    }
}

/// The target whose turn it is.
fn target(targets: &[SocketAddr], turn: usize) -> SocketAddr {
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
    targets.get(turn % targets.len().max(1)).copied().unwrap_or(nowhere)
}
