//! `/metrics`: the counts of the running program as Prometheus reads them.
//!
//! The counts live where they are made, as atomics. Each scrape writes them into a recorder of its
//! own, so that nothing is counted twice and a removed backend leaves no stale series.

mod joins;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::UNIX_EPOCH;

use common::member::MEMBERS_MAX;
use common::metric_names::{self as names, ALL, Kind};
use common::status::BackendState;
use lb::Backend;
use lb::ledger::{LedgerCounts, QUEUE_ENTRIES};
use metrics::{counter, describe_counter, describe_gauge, gauge, with_local_recorder};
use metrics_exporter_prometheus::PrometheusBuilder;

use super::limits::{CONNECTIONS_MAX, FOLLOWERS_MAX};
use super::report::{Sources, state_of};
use super::{Report, histograms};
use crate::telemetry::{COMMIT, VERSION, lost_lines, panics};

/// All metrics in Prometheus' text format.
pub(super) fn render(report: &Report) -> String {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    with_local_recorder(&recorder, || {
        describe();
        program(report);
        admin(report);
        connections(report);
        bounds(report);
        sources(&report.sources);
        if let Some(join) = report.join() {
            joins::coordinator(join);
        }
        backends(report);
    });
    handle.render() + &histograms::render(&known(report))
}

fn describe() {
    for metric in ALL {
        match metric.kind {
            Kind::Counter => describe_counter!(metric.name, metric.help),
            Kind::Gauge => describe_gauge!(metric.name, metric.help),
            // Histograms describe themselves.
            Kind::Histogram => {}
        }
    }
}

fn program(report: &Report) {
    let started = report.started_at.duration_since(UNIX_EPOCH).unwrap_or_default();
    gauge!(names::BUILD_INFO, "version" => VERSION, "commit" => COMMIT).set(1);
    gauge!(names::START_TIME).set(started.as_secs_f64());
    gauge!(names::READY).set(flag(report.ready().is_ok()));
    gauge!(names::LISTENING).set(flag(report.balancer().listening()));
    counter!(names::LOG_LINES_LOST).absolute(lost_lines() as u64);
    counter!(names::PANICS).absolute(panics());
    let (done, given_up) = report.desk().counts();
    counter!(names::HANDOVERS, "result" => "done").absolute(done);
    counter!(names::HANDOVERS, "result" => "given_up").absolute(given_up);
    let reloads = |result: &'static str, count: u64| {
        counter!(names::RELOADS, "result" => result).absolute(count);
    };
    reloads("applied", report.reloads_applied.load(Ordering::Relaxed));
    reloads("refused", report.reloads_refused.load(Ordering::Relaxed));
}

fn admin(report: &Report) {
    let (limits, journal) = (&report.limits, report.balancer().journal());
    for (kind, noted) in journal.counts() {
        counter!(names::EVENTS, "kind" => kind.label()).absolute(noted);
    }
    gauge!(names::EVENT_FOLLOWERS).set(count(limits.following()));
    gauge!(names::EVENT_FOLLOWERS_LIMIT).set(count(FOLLOWERS_MAX));
    counter!(names::EVENT_FOLLOWERS_LOST).absolute(journal.followers_lost());
    gauge!(names::ADMIN_CONNECTIONS).set(count(limits.connected()));
    gauge!(names::ADMIN_CONNECTIONS_LIMIT).set(count(CONNECTIONS_MAX));
    counter!(names::ADMIN_DENIED).absolute(limits.denied());
    counter!(names::ADMIN_STALLED).absolute(limits.stalled());
}

fn sources(sources: &Sources) {
    if let Some(remembered) = &sources.remembered {
        counter!(names::STATE_WRITE_FAILURES, "file" => "members").absolute(remembered.failures());
    }
    let kubernetes = sources.cluster.status();
    counter!(names::KUBERNETES_FAILURES).absolute(kubernetes.failures);
    if let Some(answered) = kubernetes.answered {
        gauge!(names::KUBERNETES_LISTED).set(count(kubernetes.listed.len()));
        gauge!(names::KUBERNETES_ANSWER_AGE).set(answered.elapsed().as_secs_f64());
    }
    if let Some(identified) = sources.cluster.identified() {
        gauge!(names::CLUSTER_IDENTIFIED).set(flag(identified));
    }
}

fn connections(report: &Report) {
    let balancer = report.balancer();
    gauge!(names::CONNECTIONS).set(count(balancer.open_connections()));
    gauge!(names::WORKER_TASKS).set(count(balancer.worker_tasks()));
    gauge!(names::CONNECTIONS_LIMIT).set(count(balancer.connection_limit()));
    counter!(names::CONNECTIONS_ACCEPTED).absolute(balancer.accepted());
    for (reason, ended) in balancer.closes().iter() {
        counter!(names::CONNECTIONS_CLOSED, "reason" => reason.label()).absolute(ended);
    }
    counter!(names::RACES_WON).absolute(balancer.races_won());
    counter!(names::REPLAYS).absolute(balancer.replays());
    counter!(names::ACCEPT_ERRORS).absolute(balancer.accept_errors());
    ledger(balancer.ledger());
    gauge!(names::PIPES).set(count(balancer.pipes().in_use()));
    gauge!(names::PIPES_LIMIT).set(count(balancer.pipes().limit()));
    counter!(names::PIPES_DENIED).absolute(balancer.pipes().denied());
}

fn ledger(counts: Option<&LedgerCounts>) {
    let (none, limit) = (LedgerCounts::default(), counts.map_or(0, |_| QUEUE_ENTRIES));
    let counts = counts.unwrap_or(&none);
    counter!(names::LEDGER_LINES).absolute(counts.written.load(Ordering::Relaxed));
    counter!(names::LEDGER_LOST).absolute(counts.lost.load(Ordering::Relaxed));
    gauge!(names::LEDGER_QUEUE).set(counts.queued.load(Ordering::Relaxed) as f64);
    gauge!(names::LEDGER_QUEUE_LIMIT).set(count(limit));
}

/// What is bounded beside connections and pipes, and the bounds.
fn bounds(report: &Report) {
    let settings = report.balancer().settings();
    let storm = settings.dial.storm;
    gauge!(names::MEMBERS).set(count(report.health().len()));
    gauge!(names::MEMBERS_LIMIT).set(count(MEMBERS_MAX));
    gauge!(names::NEW_CONNECTIONS_LIMIT).set(f64::from(storm.per_second));
    gauge!(names::NEW_CONNECTIONS_BURST).set(f64::from(storm.burst));
    gauge!(names::SOURCE_CONNECTIONS_LIMIT).set(f64::from(settings.per_source));
    gauge!(names::REBALANCE_ENABLED).set(flag(settings.rebalance.on));
    for (queue, waiting, limit) in report.queues() {
        gauge!(names::QUEUE, "queue" => queue).set(count(waiting));
        gauge!(names::QUEUE_LIMIT, "queue" => queue).set(count(limit));
    }
}

/// All backends, also those that are no members any more.
fn known(report: &Report) -> Vec<Arc<Backend>> {
    let members = report.health();
    let members = members.iter().map(|member| Arc::clone(&member.backend));
    members.chain(report.balancer().pool().retired()).collect()
}

fn backends(report: &Report) {
    let set = report.balancer().pool().snapshot();
    gauge!(names::MEMBERSHIP_GENERATION).set(set.generation as f64);
    let now = report.balancer().now();
    for member in report.health().iter() {
        one_backend(&member.backend, state_of(member, now));
    }
    for backend in report.balancer().pool().retired() {
        one_backend(&backend, BackendState::Removed);
    }
}

fn one_backend(backend: &Arc<Backend>, state: BackendState) {
    let name = || backend.member.name.clone();
    gauge!(names::BACKEND_USABLE, "backend" => name()).set(flag(state == BackendState::Up));
    for known in BackendState::ALL {
        let labels = [("backend", name()), ("state", known.name().to_lowercase())];
        gauge!(names::BACKEND_STATE, &labels).set(flag(known == state));
    }
    gauge!(names::BACKEND_CONNECTIONS, "backend" => name()).set(f64::from(backend.load()));
    counter!(names::BACKEND_CONNECTIONS_TOTAL, "backend" => name()).absolute(backend.connections());
    counter!(names::BACKEND_RECEIVED_BYTES, "backend" => name()).absolute(backend.received());
    counter!(names::BACKEND_SENT_BYTES, "backend" => name()).absolute(backend.sent());
    let measures = backend.measures();
    for (state, entered) in measures.transitions() {
        let labels = [("backend", name()), ("state", state.name().to_lowercase())];
        counter!(names::BACKEND_TRANSITIONS, &labels).absolute(entered);
    }
    for (outcome, ended) in measures.probes() {
        let labels = [("backend", name()), ("outcome", outcome.label().to_owned())];
        counter!(names::BACKEND_PROBES, &labels).absolute(ended);
    }
    counter!(names::BACKEND_DELAYED, "backend" => name()).absolute(measures.delayed());
    counter!(names::BACKEND_SHED, "backend" => name()).absolute(measures.shed());
    for (failure, failed) in backend.failures() {
        let labels = [("backend", name()), ("failure", failure.label().to_owned())];
        counter!(names::BACKEND_DIAL_FAILURES, &labels).absolute(failed);
    }
}

fn flag(on: bool) -> f64 {
    if on { 1.0 } else { 0.0 }
}

fn count(number: usize) -> f64 {
    number as f64
}
