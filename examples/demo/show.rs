//! The table of where connections go, as the balancer itself reports it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::status::{BackendStatus, Status};

use crate::balancer;
use crate::screen::Screen;
use crate::traffic::Counts;

/// Time between two looks; the balancer's own byte counts are no finer.
const INTERVAL: Duration = Duration::from_millis(500);

/// Longest bar.
const BAR_MAX: u64 = 20;

/// Draws the table again and again.
pub(crate) struct Show {
    screen: Arc<Screen>,
    admin: SocketAddr,
    counts: Arc<Counts>,
}

impl Show {
    /// A table of the balancer at `admin`.
    pub(crate) fn new(screen: &Arc<Screen>, admin: SocketAddr, counts: Arc<Counts>) -> Self {
        Self { screen: Arc::clone(screen), admin, counts }
    }

    /// Draws until it is dropped; ends with an error if the balancer does not answer.
    pub(crate) async fn run(&self) -> anyhow::Result<()> {
        let mut interval = tokio::time::interval(INTERVAL);
        loop {
            interval.tick().await;
            let status = balancer::status(self.admin).await?;
            self.screen.show(block(&status, &self.counts));
        }
    }
}

/// The table and the line of the clients.
fn block(status: &Status, counts: &Counts) -> Vec<String> {
    let read = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
    let mut lines = vec![
        String::new(),
        format!(
            "   {:<10} {:<8} {:<25} {:>8} {:>8}  WHY",
            "NAME", "STATE", "CONNECTIONS NOW", "IN ALL", "REFUSED"
        ),
    ];
    if status.backends.is_empty() {
        lines.push("   no master has registered".to_owned());
    }
    lines.extend(status.backends.iter().map(row));
    lines.push(format!(
        "   clients: {} requests answered, {} streams open, {} repeated, {} FAILED",
        read(&counts.answered),
        read(&counts.streams),
        read(&counts.repeated),
        read(&counts.failed),
    ));
    lines
}

fn row(backend: &BackendStatus) -> String {
    let length = backend.connections.min(BAR_MAX);
    let bar: String = (0..length).map(|_| '#').collect();
    format!(
        "   {:<10} {:<8} {:>3} {bar:<21} {:>8} {:>8}  {}",
        backend.name,
        backend.state.name(),
        backend.connections,
        backend.connections_total,
        backend.dial_failures_total,
        backend.why,
    )
}
