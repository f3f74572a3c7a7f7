//! Asks for hand-overs and waits for their end.

use common::status::Upgrade;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Balancer, eventually};

/// What the process that answers now says of hand-overs.
pub(crate) fn upgrade_of(balancer: &Balancer) -> Upgrade {
    eventually("an answer about hand-overs", || {
        let connection = crate::support::admin::AdminConnection::open(&balancer.admin);
        let answer = connection.and_then(|mut c| c.ask("GET", "/v1/upgrade")).ok()?;
        serde_json::from_str(&answer.body).ok()
    })
}

/// Sends the signal for a hand-over to the process that answers now.
pub(crate) fn ask(balancer: &Balancer) -> Upgrade {
    let before = upgrade_of(balancer);
    let pid = Pid::from_raw(i32::try_from(before.pid).unwrap()).unwrap();
    kill_process(pid, Signal::USR2).unwrap();
    before
}

/// Hands over by signal; how the new process took over.
pub(crate) fn hand_over(balancer: &Balancer) -> common::status::TookOver {
    let before = ask(balancer);
    eventually("the end of the old process", || {
        let now = upgrade_of(balancer);
        assert_eq!(now.failed, before.failed, "given up: {:?}", now.reason);
        let took_over = now.took_over.filter(|took| took.from_pid == before.pid)?;
        ended(before.pid).then_some(took_over)
    })
}

/// Tries to hand over to what cannot take over; why it was given up.
pub(crate) fn fail(balancer: &Balancer) -> String {
    let before = ask(balancer);
    let now = eventually("a hand-over that is given up", || {
        let now = upgrade_of(balancer);
        (now.failed > before.failed).then_some(now)
    });
    assert_eq!(now.pid, before.pid, "another process answers");
    assert_eq!(now.stage, None);
    now.reason.unwrap()
}

/// Whether a process has ended. Nobody may have waited for it yet.
pub(crate) fn ended(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_err() || stat.is_ok_and(|stat| stat.contains(") Z "))
}
