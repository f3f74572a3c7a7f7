//! Log lines that nobody takes: lost and counted, while clients are served.

use std::process::{Command, Stdio};

use crate::support::admin::{AdminConnection, metric_in};
use crate::support::command::MAINSTAY;
use crate::support::process::Killed;
use crate::support::{Backend, Behaviour, Client, eventually};

/// Each drain and undrain is a line; the queue holds four thousand, the pipe some hundred.
const LINES: usize = 5_000;

#[test]
fn a_stuck_log_loses_lines_counts_them_and_holds_nobody_up() {
    let dir = tempfile::tempdir().unwrap();
    let (admin, config) = (dir.path().join("admin.sock"), dir.path().join("mainstay.toml"));
    let backend = Backend::new(Behaviour::Echo);
    std::fs::write(&config, "").unwrap();
    let mut command = Command::new(MAINSTAY);
    command
        .args(["serve", "--join-listen", "off", "--listen", "127.0.0.1:0", "--probe", "tcp"])
        .args(["--backend", &backend.addr.to_string(), "--admin"])
        .arg(format!("unix:{}", admin.display()))
        .arg("--state-dir")
        .arg(dir.path().join("state"))
        .arg("--config")
        .arg(&config);
    // Nobody reads from this pipe, and it stays open.
    let _stuck = Killed(command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap());
    let ask = |path: &str| {
        let answer = AdminConnection::open(&admin).and_then(|mut admin| admin.ask("GET", path));
        answer.ok().map(|answer| answer.body)
    };
    let addr = eventually("the balancer serves", || {
        let status: serde_json::Value = serde_json::from_str(&ask("/v1/status")?).unwrap();
        let up = status["backends"][0]["state"] == "UP";
        up.then(|| status["listen"][0].as_str().unwrap().parse().unwrap())
    });
    let mut operator = AdminConnection::open(&admin).unwrap();
    for line in 0..LINES {
        let verb = if line % 2 == 0 { "drain" } else { "undrain" };
        let path = format!("/v1/members/{}/{verb}", backend.addr);
        assert_eq!(operator.ask("POST", &path).unwrap().status, 200);
    }
    let lost = metric_in(&ask("/metrics").unwrap(), "mainstay_log_lines_lost_total");
    assert!(lost > 0.0 && lost < LINES as f64, "{lost}");
    Client::established(addr).unwrap();
}
