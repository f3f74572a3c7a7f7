//! What happens, in order, and what the audience is told.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Context;
use common::status::{BackendState, BackendStatus};
use tokio::time::sleep;

use crate::balancer::{self, Balancer};
use crate::master::Master;
use crate::membership::Membership;
use crate::screen::Screen;
use crate::traffic::Traffic;

/// Time to look at one scene.
const SCENE: Duration = Duration::from_secs(5);

/// Longest wait for a revived master: two good probes, then the first seconds of its slow start.
const RETURN_TIMEOUT: Duration = Duration::from_secs(20);

/// Between two deaths, when the story goes on until Ctrl-C.
const INTERMISSION: Duration = Duration::from_secs(12);

/// Connections that a revived master gets before the story believes that it is back.
const BACK: u64 = 20;

/// The actors and the audience.
pub(crate) struct Story<'a> {
    screen: Arc<Screen>,
    masters: Vec<Master>,
    members: &'a Membership,
    traffic: &'a Traffic,
    balancer: &'a Balancer,
}

impl<'a> Story<'a> {
    /// Everything is in place, and nothing has happened.
    pub(crate) fn new(
        screen: &Arc<Screen>,
        masters: Vec<Master>,
        members: &'a Membership,
        traffic: &'a Traffic,
        balancer: &'a Balancer,
    ) -> Self {
        Self { screen: Arc::clone(screen), masters, members, traffic, balancer }
    }

    fn say(&self, line: &str) {
        self.screen.say(line);
    }

    /// Says what stands where before anybody knows anybody.
    pub(crate) fn introduce(&self) {
        let (program, listen) = (self.balancer.program.display(), self.balancer.listen);
        self.say(&format!("A balancer ({program} serve) runs from an empty directory."));
        self.say(&format!("Its configuration names no master, and its port {listen} is closed."));
        self.say("This is a ticket for masters, as `mainstay ticket create` prints it:");
        let ticket = self.members.arguments().replace(" --", " \\\n       --");
        self.say(&format!("   mainstay join {ticket}"));
        self.say("");
    }

    /// Says what can be tried.
    fn invite(&self, ca_file: &Path) {
        let Balancer { listen, admin, .. } = self.balancer;
        let (ca, program) = (ca_file.display(), self.balancer.program.display());
        let config = self.balancer.config.display();
        self.say("");
        self.say("Try, in another terminal, while this goes on:");
        self.say(&format!("   curl -i --cacert {ca} https://{listen}/readyz"));
        self.say(&format!(
            "   kubectl --kubeconfig=/dev/null --server=https://{listen} --certificate-authority={ca} --token=demo get --raw /readyz"
        ));
        self.say(&format!("   {program} status --admin {admin}"));
        self.say(&format!("   {program} why master-1 --admin {admin}"));
        self.say(&format!("   {program} events --admin {admin}"));
        self.say(&format!("   {program} drain master-2 --config {config} --admin {admin}"));
        self.say(&format!("   {program} ticket list --admin {admin}"));
        self.say(&format!("   {program} check --config {config}"));
        self.say(&format!("   curl http://{admin}/metrics"));
        self.say("");
    }

    /// Plays the story once, or again and again with another master each time.
    pub(crate) async fn play(&mut self, ca_file: &Path, once: bool) -> anyhow::Result<()> {
        self.arrivals().await?;
        self.invite(ca_file);
        self.traffic.begin();
        self.say("2. Six clients make requests without pause, each on a new connection, and nine");
        self.say("   streams stay open. Each connection goes to the master with the fewest.");
        sleep(SCENE).await;
        let mut number = 1;
        loop {
            self.death_and_return(number).await?;
            if once {
                return Ok(());
            }
            self.say("   The next one dies in a moment. Ctrl-C ends the demo.");
            sleep(INTERMISSION).await;
            number = (number + 1) % self.masters.len();
        }
    }

    /// Lets every master register, and waits until it is in rotation.
    async fn arrivals(&self) -> anyhow::Result<()> {
        self.say("1. Three masters, here small HTTPS servers that answer as an apiserver does,");
        self.say(
            "   register themselves with it. The first one names the CA of the cluster. Each is",
        );
        self.say("   probed, must show a certificate of that CA, and then gets connections.");
        for (number, master) in self.masters.iter().enumerate() {
            self.members
                .register(master, number == 0)
                .await
                .with_context(|| format!("{} cannot register", master.name))?;
            self.balancer.until_up(&master.name).await?;
        }
        sleep(SCENE / 2).await;
        Ok(())
    }

    /// Kills a master, shows that nobody suffers, and revives it.
    async fn death_and_return(&mut self, number: usize) -> anyhow::Result<()> {
        let traffic = self.traffic;
        let screen = Arc::clone(&self.screen);
        let master = self.masters.get_mut(number).context("no such master")?;
        let name = master.name.clone();
        screen.say(&format!("3. {name} is killed now: its port is closed, its connections break."));
        traffic.during_death(master.kill()).await?;
        screen.say("   A connection that is refused there goes to another master at once, and the");
        screen.say("   client does not notice. Refused twice, it is DEAD and gets no more.");
        sleep(SCENE).await;
        screen.say(&format!("4. {name} comes back on the same port."));
        master.revive()?;
        self.wait_for_return(&name).await?;
        screen.say(&format!(
            "   {name} gets new connections, more from second to second (slow start)."
        ));
        screen.say("   The streams stay where they are: what works is not cut.");
        sleep(SCENE).await;
        Ok(())
    }

    /// Waits until new connections reach the master again.
    async fn wait_for_return(&self, name: &str) -> anyhow::Result<()> {
        let begun = Instant::now();
        let before = self.row(name).await?.connections_total;
        while begun.elapsed() < RETURN_TIMEOUT {
            let row = self.row(name).await?;
            if row.state == BackendState::Drain {
                self.say(&format!("   {name} is drained: you asked for no new connections there."));
                return Ok(());
            }
            if row.state == BackendState::Up && row.connections_total >= before + BACK {
                return Ok(());
            }
            sleep(Duration::from_millis(200)).await;
        }
        anyhow::bail!("{name} is back for 20s, and gets no connections")
    }

    /// What the balancer says of a master.
    async fn row(&self, name: &str) -> anyhow::Result<BackendStatus> {
        let status = balancer::status(self.balancer.admin).await?;
        let mut rows = status.backends.into_iter();
        rows.find(|row| row.name == name)
            .with_context(|| format!("the balancer does not know {name}"))
    }
}

/// Says how it went; true if no request failed, and if some were answered where the story was `told`
/// to its end.
pub(crate) fn verdict(screen: &Screen, traffic: &Traffic, told: bool) -> bool {
    let counts = traffic.counts();
    let answered = counts.answered.load(Ordering::Relaxed);
    let repeated = counts.repeated.load(Ordering::Relaxed);
    let failed = counts.failed.load(Ordering::Relaxed);
    screen.say("");
    screen.say(&format!("{answered} requests answered, {failed} failed."));
    screen.say(&format!(
        "{repeated} were under way on a master when it was killed, and were repeated."
    ));
    if let Some(reason) = counts.first_failure() {
        screen.say(&format!("The first failure: {reason}"));
    }
    failed == 0 && (answered > 0 || !told)
}
