//! The coordinator's part of `/metrics`: who registered and who joins, what was refused, and what
//! ends soon. Without a coordinator none of these series exist.

use bootstrap::api::{CONNECTIONS_MAX, JoinApi};
use bootstrap::registry::attempts::SOURCES_MAX;
use bootstrap::registry::tickets::TICKETS_MAX;
use bootstrap::registry::turns::{QUEUE_MAX, REVOCATIONS_MAX};
use common::coordinator::CoordinatorStatus;
use common::metric_names as names;
use metrics::{counter, gauge};

use super::{count, flag};
use crate::serve::Join;

pub(super) fn coordinator(join: &Join) {
    api(&join.api);
    registry(&join.status());
}

fn api(api: &JoinApi) {
    let counts = api.counts();
    for (result, ended) in counts.registrations() {
        counter!(names::JOIN_REGISTRATIONS, "result" => result).absolute(ended);
    }
    for (reason, refused) in counts.rejections() {
        counter!(names::JOIN_TICKET_REJECTIONS, "reason" => reason).absolute(refused);
    }
    counter!(names::JOIN_HANDSHAKES_FAILED).absolute(counts.failed_handshakes());
    gauge!(names::JOIN_CONNECTIONS).set(counts.connections() as f64);
    gauge!(names::JOIN_CONNECTIONS_LIMIT).set(count(CONNECTIONS_MAX));
    gauge!(names::JOIN_SOURCES).set(count(api.sources()));
    gauge!(names::JOIN_SOURCES_LIMIT).set(count(SOURCES_MAX));
}

fn registry(status: &CoordinatorStatus) {
    for life in ["pending", "admitted"] {
        let those = status.members.iter().filter(|member| member.life == life);
        gauge!(names::REGISTERED, "life" => life).set(count(those.count()));
    }
    let missing = status.members.iter().filter(|member| member.missing);
    gauge!(names::REGISTERED_MISSING).set(count(missing.count()));
    let turn = status.joins.iter().find(|join| join.seconds_left.is_some());
    let waiting = status.joins.iter().filter(|join| join.seconds_left.is_none());
    gauge!(names::JOIN_TURN).set(flag(turn.is_some()));
    gauge!(names::JOIN_TURN_SECONDS).set(turn.map_or(0.0, |turn| turn.seconds as f64));
    gauge!(names::JOINS_WAITING).set(count(waiting.count()));
    gauge!(names::JOINS_WAITING_LIMIT).set(count(QUEUE_MAX));
    gauge!(names::REVOCATIONS).set(status.revocations as f64);
    gauge!(names::REVOCATIONS_LIMIT).set(count(REVOCATIONS_MAX));
    gauge!(names::TICKETS).set(status.tickets_good as f64);
    gauge!(names::TICKETS_LIMIT).set(count(TICKETS_MAX));
    for certificate in &status.certificates {
        gauge!(names::CERTIFICATE_LEFT_SECONDS, "certificate" => certificate.name.clone())
            .set(certificate.seconds_left as f64);
    }
}
