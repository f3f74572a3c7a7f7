//! The coordinator as screens show it.

use common::coordinator::{
    CertificateStatus, CoordinatorStatus, JoinStatus, ROWS_MAX, RegisteredMember, TicketStatus,
};

use crate::protocol::JoinPhase;
use crate::registry::members::{Life, MemberRecord};
use crate::registry::tickets::Ticket;
use crate::registry::{Now, Registry};

/// What is shown of the registry. The coordinator's own CA is added by whoever has it.
pub(super) fn status(registry: &Registry, now: Now) -> CoordinatorStatus {
    let records = || registry.members.records().take(ROWS_MAX);
    CoordinatorStatus {
        members: records().map(|record| member(registry, record, now)).collect(),
        joins: joins(registry, now),
        tickets: registry.tickets.good(now.unix).take(ROWS_MAX).map(|it| ticket(it, now)).collect(),
        certificates: records().map(|record| certificate(record, now)).collect(),
        tickets_good: registry.tickets.good(now.unix).count() as u64,
        revocations: registry.turns.revocations().len() as u64,
    }
}

fn member(registry: &Registry, record: &MemberRecord, now: Now) -> RegisteredMember {
    let heard = registry.members.heard(&record.name);
    let life = match record.life {
        Life::Pending => "pending",
        Life::Admitted => "admitted",
    };
    RegisteredMember {
        name: record.name.clone(),
        addr: record.address.to_string(),
        life: life.to_owned(),
        heartbeat_seconds_ago: heard.map(|heard| now.run.saturating_sub(heard.at).as_secs()),
        missing: registry.members.is_missing(&record.name, now.run),
    }
}

fn joins(registry: &Registry, now: Now) -> Vec<JoinStatus> {
    let holder = registry.turns.holder().map(|(name, phase, deadline, began)| JoinStatus {
        name: name.to_owned(),
        step: step(phase).to_owned(),
        seconds: now.run.saturating_sub(began).as_secs(),
        seconds_left: Some(deadline.saturating_sub(now.run).as_secs()),
    });
    let waiting = registry.turns.waiting().map(|(name, since)| JoinStatus {
        name: name.to_owned(),
        step: step(JoinPhase::Queued).to_owned(),
        seconds: now.run.saturating_sub(since).as_secs(),
        seconds_left: None,
    });
    holder.into_iter().chain(waiting).take(ROWS_MAX).collect()
}

fn step(phase: JoinPhase) -> &'static str {
    match phase {
        JoinPhase::Queued => "waits for its turn",
        JoinPhase::Issuing => "a master makes its credentials",
        JoinPhase::Ready => "kubeadm runs",
        JoinPhase::Settling => "its apiserver starts",
        JoinPhase::Joined => "joined",
        JoinPhase::Failed => "failed",
    }
}

fn ticket((id, ticket): (&String, &Ticket), now: Now) -> TicketStatus {
    TicketStatus {
        id: id.clone(),
        description: ticket.description.clone(),
        seconds_left: ticket.expires.map(|end| end.saturating_sub(now.unix)),
        uses_left: ticket.uses_left.map(u64::from),
    }
}

fn certificate(record: &MemberRecord, now: Now) -> CertificateStatus {
    CertificateStatus {
        name: record.name.clone(),
        seconds_left: signed(record.certificate_ends) - signed(now.unix),
    }
}

fn signed(unix: u64) -> i64 {
    i64::try_from(unix).unwrap_or(i64::MAX)
}
