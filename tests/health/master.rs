//! The test's handle of a stand-in master: starts, tells, freezes and kills it.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Lines, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use common::status::BackendState;
use rustix::process::{Pid, Signal, kill_process};
use socket2::{Domain, Socket, Type};

use crate::pki::Pki;
use crate::stand_in;
use crate::support::process::Killed;
use crate::support::refusing::bound;
use crate::support::{Balancer, Host, Setup, until};

/// More connections than fit in the shortest queue of a listening socket.
const FILLERS: usize = 4;

/// A stand-in master; its port stays taken while it is dead.
pub(crate) struct Master {
    pub(crate) addr: SocketAddr,
    /// The words before a command line that have it run where it is to run.
    entry: Vec<String>,
    _place: Socket,
    running: Option<Running>,
    fillers: Vec<Socket>,
}

struct Running {
    child: Killed,
    tell: ChildStdin,
    said: Lines<BufReader<ChildStdout>>,
}

impl Master {
    /// One that does not run yet: connections are refused.
    pub(crate) fn down() -> Self {
        Self::at(bound((Ipv4Addr::LOCALHOST, 0).into()), Vec::new())
    }

    /// One on a host of a network of its own.
    pub(crate) fn on(host: &Host, port: u16, pki: &Pki) -> Self {
        let place = host.inside(|| bound(host.addr(port)));
        let mut master = Self::at(place, host.entry().to_vec());
        master.start(pki);
        master
    }

    fn at(place: Socket, entry: Vec<String>) -> Self {
        let addr = place.local_addr().unwrap().as_socket().unwrap();
        Self { addr, entry, _place: place, running: None, fillers: Vec::new() }
    }

    pub(crate) fn new(pki: &Pki) -> Self {
        let mut master = Self::down();
        master.start(pki);
        master
    }

    pub(crate) fn port(&self) -> u16 {
        self.addr.port()
    }

    /// Starts the process with a certificate of this cluster.
    pub(crate) fn start(&mut self, pki: &Pki) {
        let program = std::env::current_exe().unwrap();
        let mut words = self.entry.iter().map(OsString::from).chain([program.into()]);
        let mut command = Command::new(words.next().unwrap());
        command
            .args(words)
            .args(["--exact", "stand_in::stand_in", "--ignored", "--nocapture"])
            .env(stand_in::DIR, pki.dir())
            .env(stand_in::ADDRESS, self.addr.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = Killed(command.spawn().unwrap());
        let tell = child.0.stdin.take().unwrap();
        let said = BufReader::new(child.0.stdout.take().unwrap()).lines();
        let mut running = Running { child, tell, said };
        running.wait_for(stand_in::LISTENS);
        self.running = Some(running);
    }

    /// Tells it how to behave from now on.
    pub(crate) fn tell(&mut self, what: &str) {
        let running = self.running.as_mut().unwrap();
        writeln!(running.tell, "{what}").unwrap();
        running.wait_for(&format!("done {what}"));
    }

    /// Its process is gone at once, as by `kill -9`.
    pub(crate) fn crash(&mut self) {
        self.running = None;
    }

    /// Its process stands still; the kernel still accepts connections for it.
    pub(crate) fn freeze(&mut self) {
        self.signal(Signal::STOP);
    }

    /// It goes on after it was frozen.
    pub(crate) fn thaw(&mut self) {
        self.signal(Signal::CONT);
    }

    /// It stops as an apiserver does: its port is closed at once, what it serves ends after a while.
    pub(crate) fn stop(&mut self, after: Duration) {
        self.tell(&format!("stop {}", after.as_millis()));
        let mut running = self.running.take().unwrap();
        running.child.0.wait().unwrap();
    }

    /// It stands still and handshakes are not answered either, as if its cable was cut.
    pub(crate) fn vanish(&mut self) {
        self.tell("backlog 0");
        self.freeze();
        for _ in 0..FILLERS {
            let filler = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            filler.set_nonblocking(true).unwrap();
            // In progress is all that can be had.
            filler.connect(&self.addr.into()).ok();
            self.fillers.push(filler);
        }
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.running.as_ref().unwrap().child.0.id()).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
    }
}

impl Running {
    fn wait_for(&mut self, text: &str) {
        let found = self.said.by_ref().any(|line| line.unwrap().contains(text));
        assert!(found, "the stand-in ended");
    }
}

/// Three masters of one cluster and the balancer in front of them, all UP.
pub(crate) fn three(pki: &Pki) -> ([Master; 3], Balancer) {
    let masters = [(); 3].map(|()| Master::new(pki));
    let addrs = masters.each_ref().map(|master| master.addr);
    let balancer = Setup::backends(&addrs).cluster_ca(&pki.ca()).start();
    (masters, balancer)
}

/// Waits until the balancer shows this state of a master.
pub(crate) fn until_state(balancer: &Balancer, master: &Master, state: BackendState) {
    let row = || balancer.row(master.addr).unwrap();
    until(&format!("{} is {}", master.addr, state.name()), || row().state == state);
}
