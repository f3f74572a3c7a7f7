//! Stops in phases: the pure machine is `common::drain`, this is its driver.

use std::time::Duration;

use common::drain::{StopEvent, StopLimits, StopPhase};
use common::events::EventKind;
use tracing::info;

use super::Signals;
use crate::admin::Report;

/// Goes through the phases until the program may end.
pub(crate) async fn in_phases(report: &Report, limits: StopLimits, signals: &mut Signals) {
    let mut phase = StopPhase::Serving.after(StopEvent::StopRequested);
    while phase != StopPhase::Stopped {
        enter(report, phase);
        let event = next_event(report, phase, &limits, signals).await;
        phase = phase.after(event);
    }
    report.enter(phase);
}

/// What a phase does when it begins.
fn enter(report: &Report, phase: StopPhase) {
    report.enter(phase);
    let connections = report.balancer().open_connections();
    let note = |text: &str| {
        let text = format!("{text}; connections: {connections}");
        report.balancer().journal().note(EventKind::Stopping, text);
    };
    match phase {
        StopPhase::Draining => {
            note("draining: sessions go on");
            report.balancer().shut();
            info!(connections, "stopping: port closed, sessions go on; signal again to cut them");
        }
        StopPhase::Cutting => {
            note("cutting: sessions are reset");
            report.balancer().cut_off();
            info!(connections, "stopping: sessions reset");
        }
        StopPhase::LameDuck => {
            note("lame duck: /readyz fails, the port is still open");
            info!(connections, "stopping: /readyz fails, port still open");
        }
        StopPhase::Serving | StopPhase::Stopped => {}
    }
}

async fn next_event(
    report: &Report,
    phase: StopPhase,
    limits: &StopLimits,
    signals: &mut Signals,
) -> StopEvent {
    let limit = phase.time_limit(limits).unwrap_or(Duration::ZERO);
    tokio::select! {
        () = tokio::time::sleep(limit) => StopEvent::TimeOver,
        () = signals.stop() => StopEvent::StopRequested,
        () = report.balancer().emptied(), if phase >= StopPhase::Draining => StopEvent::NoSessionLeft,
    }
}
