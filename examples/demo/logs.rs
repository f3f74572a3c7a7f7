//! Reads what the balancer logs: finds the port of its admin endpoint, and tells the audience who
//! registers, and when it skips a master or takes one back.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::ChildStderr;
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::oneshot;

use crate::screen::Screen;

/// The admin address, or the last line of a program that ended before it opened one.
type Opened = Result<SocketAddr, String>;

/// Reads on a thread of its own until the program ends.
pub(crate) fn follow(
    stderr: ChildStderr,
    screen: Arc<Screen>,
) -> anyhow::Result<oneshot::Receiver<Opened>> {
    let (tell, told) = oneshot::channel();
    std::thread::Builder::new()
        .name("balancer-log".to_owned())
        .spawn(move || read(stderr, &screen, tell))?;
    Ok(told)
}

fn read(stderr: ChildStderr, screen: &Screen, tell: oneshot::Sender<Opened>) {
    let mut tell = Some(tell);
    let mut last = String::new();
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        let event: Value = serde_json::from_str(&line).unwrap_or_default();
        if let Some(addr) = admin_addr(&event)
            && let Some(tell) = tell.take()
        {
            tell.send(Ok(addr)).ok();
        }
        if let Some(sentence) = news(&event) {
            screen.say(&format!("   balancer: {sentence}"));
        }
        last = line;
    }
    if let Some(tell) = tell {
        tell.send(Err(last)).ok();
    }
}

fn text<'a>(event: &'a Value, field: &str) -> &'a str {
    event.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn admin_addr(event: &Value) -> Option<SocketAddr> {
    match text(event, "message") {
        "admin endpoint open" => text(event, "admin").parse().ok(),
        _ => None,
    }
}

/// A line for the audience: what becomes of one backend, and every warning.
fn news(event: &Value) -> Option<String> {
    let message = text(event, "message");
    let (backend, to) = (text(event, "backend"), text(event, "to"));
    match text(event, "level") {
        _ if message == "coordinator" => {
            Some(format!("{}: {}", text(event, "about"), text(event, "text")))
        }
        _ if !backend.is_empty() && !to.is_empty() => {
            let (from, signal) = (text(event, "from"), text(event, "signal"));
            Some(format!("{backend} {from} -> {to}: {signal}"))
        }
        "WARN" | "ERROR" if backend.is_empty() => Some(message.to_owned()),
        "WARN" | "ERROR" => Some(format!("{backend}: {message} ({})", text(event, "failure"))),
        _ => None,
    }
}
