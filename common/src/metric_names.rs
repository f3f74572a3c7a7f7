//! Every metric's name, kind and help text, once.
//!
//! To add one: a constant here with its line in [`ALL`], the place that sets it, and a line in
//! `docs/metrics.md` (a test compares them). Rules: prefix `mainstay_`, base units, the unit as
//! suffix, `_total` on counters, no label whose values a client can choose.

/// What Prometheus calls the kind of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Times in buckets.
    Histogram,
}

/// A metric as `/metrics` and the documentation name it.
#[derive(Debug)]
pub struct Metric {
    /// Full name.
    pub name: &'static str,
    /// Counter, gauge or histogram.
    pub kind: Kind,
    /// Labels, separated by a comma; empty if none.
    pub labels: &'static str,
    /// What it counts.
    pub help: &'static str,
}

macro_rules! metrics {
    ($($(#[$doc:meta])* $id:ident = $name:literal, $kind:ident, $labels:literal, $help:literal;)*) => {
        $(#[doc = $help] pub const $id: &str = $name;)*

        /// All metrics, in the order in which they are documented.
        pub const ALL: &[Metric] = &[
            $(Metric { name: $name, kind: Kind::$kind, labels: $labels, help: $help },)*
        ];
    };
}

metrics! {
    BUILD_INFO = "mainstay_build_info", Gauge, "version,commit",
        "Always 1; the labels say which build runs.";
    START_TIME = "mainstay_start_time_seconds", Gauge, "",
        "When the process started, in seconds since 1970.";
    READY = "mainstay_ready", Gauge, "",
        "1 while /readyz answers 200: a backend is usable and no stop is under way.";
    LISTENING = "mainstay_listening", Gauge, "",
        "1 while the port is open; it is closed while there is no backend.";
    MEMBERSHIP_GENERATION = "mainstay_membership_generation", Gauge, "",
        "Number of the membership in use; grows with each change.";
    STATE_WRITE_FAILURES = "mainstay_state_write_failures_total", Counter, "file",
        "Failed writes into the state directory; each is tried again.";
    KUBERNETES_LISTED = "mainstay_kubernetes_listed", Gauge, "",
        "Apiservers that the cluster lists; absent while it was not asked.";
    KUBERNETES_ANSWER_AGE = "mainstay_kubernetes_answer_age_seconds", Gauge, "",
        "Time since the cluster last said anything; a watch says something every minute.";
    KUBERNETES_FAILURES = "mainstay_kubernetes_failures_total", Counter, "",
        "Times that the cluster could not be asked or a watch of it broke.";
    CLUSTER_IDENTIFIED = "mainstay_cluster_identified", Gauge, "",
        "1 while probes verify apiservers by the cluster's CA, 0 while the CA of the pin is not found.";
    REGISTERED = "mainstay_registered", Gauge, "life",
        "Machines that registered: pending until their apiserver answered, then admitted.";
    REGISTERED_MISSING = "mainstay_registered_missing", Gauge, "",
        "Registered machines whose agent is not heard; they stay in rotation while they serve.";
    JOIN_REGISTRATIONS = "mainstay_join_registrations_total", Counter, "result",
        "Registrations by result: accepted or refused.";
    JOIN_TICKET_REJECTIONS = "mainstay_join_ticket_rejections_total", Counter, "reason",
        "Tickets that were refused, by reason.";
    JOIN_TURN = "mainstay_join_turn", Gauge, "",
        "1 while a machine has its turn to join.";
    JOIN_TURN_SECONDS = "mainstay_join_turn_seconds", Gauge, "",
        "How long the machine has had its turn; 0 while nobody has one.";
    JOINS_WAITING = "mainstay_joins_waiting", Gauge, "",
        "Machines that wait for their turn to join.";
    JOINS_WAITING_LIMIT = "mainstay_joins_waiting_limit", Gauge, "",
        "Most machines that may wait for their turn; further ones are told to come back.";
    REVOCATIONS = "mainstay_revocations", Gauge, "",
        "Credentials of ended joins that an agent has still to take back.";
    REVOCATIONS_LIMIT = "mainstay_revocations_limit", Gauge, "",
        "Most credentials that are kept to be taken back; older ones have ended by themselves.";
    TICKETS = "mainstay_tickets", Gauge, "",
        "Tickets that are good.";
    TICKETS_LIMIT = "mainstay_tickets_limit", Gauge, "",
        "Most tickets at once; further ones are refused.";
    CERTIFICATE_LEFT_SECONDS = "mainstay_certificate_left_seconds", Gauge, "certificate",
        "Time until the certificate ends: the coordinator's CA, and each member's, which its agent renews at half.";
    JOIN_CONNECTIONS = "mainstay_join_connections", Gauge, "",
        "Connections to the join API now.";
    JOIN_CONNECTIONS_LIMIT = "mainstay_join_connections_limit", Gauge, "",
        "Most connections to the join API at once; further ones wait.";
    JOIN_HANDSHAKES_FAILED = "mainstay_join_handshakes_failed_total", Counter, "",
        "Connections to the join API that did not come to TLS.";
    JOIN_SOURCES = "mainstay_join_sources", Gauge, "",
        "Sources of wrong tickets that are remembered.";
    JOIN_SOURCES_LIMIT = "mainstay_join_sources_limit", Gauge, "",
        "Most sources of wrong tickets that are remembered.";
    CONNECTIONS = "mainstay_connections", Gauge, "",
        "Client connections that are open now.";
    CONNECTIONS_LIMIT = "mainstay_connections_limit", Gauge, "",
        "Most client connections at once.";
    CONNECTIONS_ACCEPTED = "mainstay_connections_accepted_total", Counter, "",
        "Client connections accepted.";
    CONNECTIONS_CLOSED = "mainstay_connections_closed_total", Counter, "reason",
        "Client connections ended, by the reason.";
    ACCEPT_ERRORS = "mainstay_accept_errors_total", Counter, "",
        "Failed accepts: out of descriptors or memory. Each is followed by a pause.";
    RACES_WON = "mainstay_races_won_total", Counter, "",
        "Clients whose backend was found by racing one that did not connect within 300 ms.";
    REPLAYS = "mainstay_replays_total", Counter, "",
        "First flights of clients that were given to another backend, because one did not answer.";
    PIPES = "mainstay_pipes", Gauge, "",
        "Pipes that move bulk data now.";
    PIPES_LIMIT = "mainstay_pipes_limit", Gauge, "",
        "Most pipes at once; beyond it data is copied.";
    PIPES_DENIED = "mainstay_pipes_denied_total", Counter, "",
        "Times that data was copied because no pipe was to be had.";
    BACKEND_USABLE = "mainstay_backend_usable", Gauge, "backend",
        "1 while new connections may go to the backend.";
    BACKEND_STATE = "mainstay_backend_state", Gauge, "backend,state",
        "1 for the state that the backend is in, 0 for the others.";
    BACKEND_CONNECTIONS = "mainstay_backend_connections", Gauge, "backend",
        "Connections to the backend, being dialled or established.";
    BACKEND_CONNECTIONS_TOTAL = "mainstay_backend_connections_total", Counter, "backend",
        "Connections that the backend accepted.";
    BACKEND_DIAL_FAILURES = "mainstay_backend_dial_failures_total", Counter, "backend,failure",
        "Attempts to connect that failed, by kind.";
    BACKEND_RECEIVED_BYTES = "mainstay_backend_received_bytes_total", Counter, "backend",
        "Bytes from the backend to clients.";
    BACKEND_SENT_BYTES = "mainstay_backend_sent_bytes_total", Counter, "backend",
        "Bytes from clients to the backend.";
    LEDGER_LINES = "mainstay_ledger_lines_total", Counter, "",
        "Lines written to the connection ledger.";
    LEDGER_LOST = "mainstay_ledger_lost_total", Counter, "",
        "Lines of the ledger that were lost: its queue was full, or the file did not take them.";
    LEDGER_QUEUE = "mainstay_ledger_queue", Gauge, "",
        "Lines of the ledger that wait to be written.";
    LEDGER_QUEUE_LIMIT = "mainstay_ledger_queue_limit", Gauge, "",
        "Most lines of the ledger that may wait; 0 while none is kept.";
    MEMBERS = "mainstay_members", Gauge, "",
        "Members in use.";
    MEMBERS_LIMIT = "mainstay_members_limit", Gauge, "",
        "Most members that are taken.";
    QUEUE = "mainstay_queue", Gauge, "queue",
        "Messages that wait, by queue: to the task that decides about health.";
    QUEUE_LIMIT = "mainstay_queue_limit", Gauge, "queue",
        "Most messages that may wait in the queue; further senders wait.";
    NEW_CONNECTIONS_LIMIT = "mainstay_new_connections_limit", Gauge, "",
        "New connections a second that one backend may get; 0 is no limit.";
    NEW_CONNECTIONS_BURST = "mainstay_new_connections_burst", Gauge, "",
        "New connections at once that one backend may get after a quiet time.";
    SOURCE_CONNECTIONS_LIMIT = "mainstay_source_connections_limit", Gauge, "",
        "Most connections of one source address; 0 is no limit.";
    REBALANCE_ENABLED = "mainstay_rebalance_enabled", Gauge, "",
        "1 if load is moved back to backends that returned.";
    BACKEND_TRANSITIONS = "mainstay_backend_transitions_total", Counter, "backend,state",
        "Changes into the state, as seen by probes or told by an operator.";
    BACKEND_PROBES = "mainstay_backend_probes_total", Counter, "backend,outcome",
        "Probes that ended, by what they saw.";
    BACKEND_DELAYED = "mainstay_backend_delayed_total", Counter, "backend",
        "Dials that waited for their place under storm control, up to 5 s.";
    BACKEND_SHED = "mainstay_backend_shed_total", Counter, "backend",
        "Dials that had no place under storm control in time and went to another backend.";
    BACKEND_DIAL_SECONDS = "mainstay_backend_dial_seconds", Histogram, "backend",
        "Time until the backend accepted a client's connection.";
    BACKEND_TLS_SECONDS = "mainstay_backend_tls_seconds", Histogram, "backend",
        "Time until the backend answered the TLS handshake of a probe.";
    BACKEND_ANSWER_SECONDS = "mainstay_backend_answer_seconds", Histogram, "backend",
        "Time until the backend answered a probe.";
    HANDOVERS = "mainstay_handovers_total", Counter, "result",
        "Hand-overs to a new process, by result: done or given_up.";
    RELOADS = "mainstay_reloads_total", Counter, "result",
        "Reloads of the configuration, by result: applied or refused.";
    EVENTS = "mainstay_events_total", Counter, "kind",
        "Decisions that were noted in the journal, by kind.";
    EVENT_FOLLOWERS = "mainstay_event_followers", Gauge, "",
        "Readers of /v1/events now.";
    EVENT_FOLLOWERS_LIMIT = "mainstay_event_followers_limit", Gauge, "",
        "Most readers of /v1/events at once; further ones are refused.";
    EVENT_FOLLOWERS_LOST = "mainstay_event_followers_lost_total", Counter, "",
        "Readers of /v1/events that were dropped because they read too slowly.";
    ADMIN_CONNECTIONS = "mainstay_admin_connections", Gauge, "",
        "Connections to the admin endpoint now.";
    ADMIN_CONNECTIONS_LIMIT = "mainstay_admin_connections_limit", Gauge, "",
        "Most connections to the admin endpoint at once; further ones wait.";
    ADMIN_DENIED = "mainstay_admin_denied_total", Counter, "",
        "Admin requests that were refused because there were too many.";
    ADMIN_STALLED = "mainstay_admin_stalled_total", Counter, "",
        "Admin clients that were cut off because they did not take their answer for 10 s.";
    LOG_LINES_LOST = "mainstay_log_lines_lost_total", Counter, "",
        "Log lines that were lost, because whoever reads stderr did not keep up.";
    WORKER_TASKS = "mainstay_worker_tasks", Gauge, "",
        "Tasks on the workers: one for each connection, and a few that stay.";
    PANICS = "mainstay_panics_total", Counter, "",
        "Mistakes in the program that ended one of its tasks or sessions; the others went on.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_the_rules() {
        for metric in ALL {
            assert!(metric.name.starts_with("mainstay_"), "{}", metric.name);
            let counter = metric.name.ends_with("_total");
            assert_eq!(counter, metric.kind == Kind::Counter, "{}", metric.name);
            assert!(metric.help.ends_with('.'), "{}", metric.name);
        }
    }

    #[test]
    fn the_docs_name_exactly_these() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
        let page = std::fs::read_to_string(path).unwrap();
        let rows: Vec<&str> =
            page.lines().filter(|line| line.starts_with("| `mainstay_")).collect();
        let expected: Vec<String> = ALL.iter().map(row).collect();
        assert_eq!(rows, expected, "docs/metrics.md should hold:\n{}", expected.join("\n"));
    }

    fn row(metric: &Metric) -> String {
        let labels: Vec<String> =
            metric.labels.split(',').filter(|l| !l.is_empty()).map(|l| format!("`{l}`")).collect();
        let kind = format!("{:?}", metric.kind).to_lowercase();
        format!("| `{}` | {kind} | {} | {} |", metric.name, labels.join(", "), metric.help)
    }
}
