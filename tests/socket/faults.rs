//! Faults inside: what the balancer itself lacks, while data flows.

use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::support::admin::{AdminConnection, metric_in};
use crate::support::command::{MAINSTAY, install_script};
use crate::support::disk::Disk;
use crate::support::process::Killed;
use crate::support::{Backend, Behaviour, Client, Ending, Pattern, Setup, process, skipped, until};

const MIB: u64 = 1 << 20;

/// Sessions with messages both ways, and new connections one after the other.
struct Flow {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Flow {
    fn start(addr: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let established = |_| Client::established(addr).unwrap();
            let mut sessions: Vec<_> = (0..10).map(established).collect();
            let mut connections = 0;
            while !stopped.load(Ordering::Relaxed) {
                sessions.iter_mut().for_each(|session| session.echo(b"flows").unwrap());
                Client::established(addr).unwrap();
                connections += 1;
            }
            connections
        });
        Self { stop, thread }
    }

    /// Nobody has noticed anything.
    fn undisturbed(self) {
        self.stop.store(true, Ordering::Relaxed);
        assert!(self.thread.join().unwrap() > 0, "no connection was made meanwhile");
    }
}

/// Lets a process open no further file, or as many as before.
fn limit_files(pid: u32, most: Option<u64>) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap());
    let maximum = rustix::process::getrlimit(Resource::Nofile).maximum;
    prlimit(pid, Resource::Nofile, Rlimit { current: most.or(maximum), maximum }).unwrap();
}

/// The lowest number that no open file of a process has.
fn lowest_free(pid: u32) -> u64 {
    let open = |number: &u64| !std::path::Path::new(&format!("/proc/{pid}/fd/{number}")).exists();
    (0..).find(open).unwrap()
}

/// Sends the pattern from its second byte on and then reads as much, which must be the same.
fn bulk_both_ways(mut client: Client, length: u64) {
    let mut pattern = Pattern::new();
    pattern.pass(1);
    while pattern.passed < length {
        let sent = client.0.write(pattern.next(length - pattern.passed)).unwrap();
        pattern.pass(sent);
    }
    client.end();
    let mut back = Pattern::new();
    client.receive(&mut back, length, |_| ());
    assert_eq!(back.passed, length);
    assert_eq!(client.ending(), Ending::Eof);
}

#[test]
fn without_descriptors_for_pipes_bulk_is_copied_byte_for_byte() {
    const LENGTH: u64 = 32 * MIB;
    let backend = Backend::new(Behaviour::ReceiveThenSend(LENGTH));
    let balancer = Setup::backends(&[backend.addr]).start();
    let mut admin = AdminConnection::open(&balancer.admin).unwrap();
    let mut metric = |name: &str| metric_in(&admin.ask("GET", "/metrics").unwrap().body, name);
    let begun = || {
        let mut client = Client::connect(balancer.addr).unwrap();
        client.0.write_all(Pattern::new().next(1)).unwrap();
        client
    };
    let clients = [begun(), begun()];
    until("both sessions are established", || backend.received() == 2);

    process::descriptors(balancer.pid());
    limit_files(balancer.pid(), Some(lowest_free(balancer.pid())));
    clients
        .map(|client| std::thread::spawn(move || bulk_both_ways(client, LENGTH)))
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    assert!(metric("mainstay_pipes_denied_total") > 0.0);
    until("the backend has read to the end", || backend.ended() == 2);
    assert_eq!((backend.received(), backend.faults()), (2 * LENGTH, 0));

    limit_files(balancer.pid(), None);
    bulk_both_ways(begun(), LENGTH);
    assert!(!balancer.log().contains("panic"), "{}", balancer.log());
}

/// A user of its own, so that nobody else's pipes count.
const ANOTHER: &str = "65533";

/// Starts a shell command as that user, with as many open files as this process may have.
fn as_another(command: &str) -> String {
    format!(
        "ulimit -n $(ulimit -Hn)\n\
         exec setpriv --reuid {ANOTHER} --regid {ANOTHER} --clear-groups --bounding-set -all {command}"
    )
}

/// Holds all the pipe memory that a user without privileges may have, until it is dropped.
struct PipeHog {
    _holder: Killed,
}

impl PipeHog {
    fn start() -> Option<Self> {
        // More than 16 384 pages in pipes of 16, the usual `fs.pipe-user-pages-soft`.
        let holds = "perl -e '$| = 1; for (1..1200) { pipe(my $r, my $w) or die; push @p, $r, $w } \
                     print \"held\\n\"; <STDIN>'";
        let mut command = Command::new("sh");
        command.args(["-c", &as_another(holds)]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut holder = Killed(command.spawn().ok()?);
        let mut said = String::new();
        let out = holder.0.stdout.take()?;
        std::io::BufReader::new(out).read_line(&mut said).ok()?;
        (said == "held\n").then_some(Self { _holder: holder })
    }
}

#[test]
fn over_the_share_of_pipe_memory_bulk_is_copied() {
    const LENGTH: u64 = 32 * MIB;
    let share = std::fs::read_to_string("/proc/sys/fs/pipe-user-pages-soft").unwrap();
    if !(1..=16_384).contains(&share.trim().parse::<u64>().unwrap()) {
        return skipped("this machine lets users have more memory in pipes");
    }
    let Some(hog) = PipeHog::start() else {
        return skipped("missing rights: cannot run as another user with setpriv");
    };
    let place = tempfile::tempdir().unwrap();
    let program = place.path().join("mainstay-as-another");
    let script = as_another(&format!("{MAINSTAY} \"$@\""));
    let open = "for word; do case $word in unix:*) chmod 777 $(dirname ${word#unix:});; esac; done";
    install_script(&format!("{open}\n{script}"), &program);

    let backend = Backend::new(Behaviour::ReceiveThenSend(LENGTH));
    let balancer = Setup::backends(&[backend.addr]).program(program).start();
    let bulk = || {
        let mut client = Client::connect(balancer.addr).unwrap();
        client.0.write_all(Pattern::new().next(1)).unwrap();
        bulk_both_ways(client, LENGTH);
    };
    let denied = || balancer.metric("mainstay_pipes_denied_total");
    bulk();
    let while_held = denied();
    assert!(while_held > 0.0);
    drop(hog);
    bulk();
    assert!(denied() <= while_held, "pipes are to be had again");
    assert_eq!((backend.received(), backend.faults()), (2 * LENGTH, 0));
}

#[test]
fn a_full_disk_of_the_state_directory_disturbs_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::over(dir.path(), "64k") else { return };
    let backends = [Backend::new(Behaviour::Echo), Backend::new(Behaviour::Echo)];
    let [known, remembered] = [backends[0].addr, backends[1].addr];
    let file = dir.path().join("members.json");
    let member =
        format!("{{\"name\":\"old\",\"addr\":\"{remembered}\",\"source\":\"kubernetes\"}}");
    std::fs::write(&file, format!("{{\"version\":1,\"members\":[{member}]}}")).unwrap();
    let config = |backends: &[SocketAddr]| {
        let named: Vec<_> = backends.iter().map(ToString::to_string).collect();
        format!("backends = {named:?}\n")
    };
    let setup = Setup::backends(&[]).config(config(&[known])).state_dir(dir.path());
    let balancer = setup.start();
    let kept = || std::fs::read_to_string(&file).unwrap_or_default();
    let failures = || balancer.metric("mainstay_state_write_failures_total{file=\"members\"}");
    until("the members are kept", || kept().contains(&remembered.to_string()));
    let flow = Flow::start(balancer.addr);

    disk.fill();
    let before = kept();
    // It is the configuration's from now on, so the file is to be written without it.
    balancer.reload(&config(&[known, remembered]), "applied");
    until("the write fails", || failures() > 0.0);
    assert_eq!(kept(), before, "the old file is whole");
    balancer.until_state(remembered, common::status::BackendState::Up);

    disk.clear();
    balancer.reload(&config(&[known]), "applied");
    until("the write succeeds", || !kept().contains(&remembered.to_string()));
    flow.undisturbed();
    assert_eq!(backends.iter().map(Backend::resets).sum::<u64>(), 0);
}

#[test]
fn a_disk_that_was_full_at_the_first_start_costs_no_later_one_its_token() {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::over(dir.path(), "64k") else { return };
    let backend = Backend::new(Behaviour::Echo);
    let start = || Setup::backends(&[backend.addr]).state_dir(disk.path()).start();
    let token = || std::fs::read_to_string(disk.path().join("admin-token")).ok();
    disk.fill();
    let first = start();
    until("it is said", || first.log().contains("no admin token"));
    assert_eq!(token(), None, "nothing is left that a later start would take for a token");
    drop(first);
    disk.clear();
    let _second = start();
    assert_eq!(token().map(|text| text.len()), Some(64));
}

#[test]
fn a_damaged_admin_token_ends_no_start() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("admin-token"), b"\xff{]rubbish\0").unwrap();
    let backend = Backend::new(Behaviour::Echo);
    let balancer = Setup::backends(&[backend.addr]).state_dir(dir.path()).start();
    Client::established(balancer.addr).unwrap();
    // Lines are written by a thread of their own.
    until("it is said", || balancer.log().contains("no admin token"));
}
