//! A balancer whose admin endpoint is a port.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use super::command::MAINSTAY;
use super::process::Killed;

/// Starts it with one backend that is down, and reads from its log where the endpoint is. Nobody reads
/// the log after that, and the balancer must not mind.
// Not all of the targets that share this need it.
#[allow(dead_code)]
pub(crate) fn start_on_tcp(state_dir: &Path) -> (Killed, String) {
    let mut command = Command::new(MAINSTAY);
    command
        .args(["serve", "--join-listen", "off"])
        .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
        .args(["--backend", "master1=127.0.0.1:1", "--log-format", "json", "--state-dir"])
        .arg(state_dir)
        .stderr(Stdio::piped());
    let mut balancer = Killed(command.spawn().unwrap());
    let log = BufReader::new(balancer.0.stderr.take().unwrap());
    let admin = log.lines().map_while(Result::ok).find_map(|line| {
        let (_, rest) = line.split_once("\"admin\":\"")?;
        Some(rest.split_once('"')?.0.to_owned())
    });
    (balancer, admin.unwrap())
}
