//! The answers of the join API. Each is: check what came, ask the registry, say it.

use std::net::SocketAddr;
use std::time::Duration;

use common::OwnAddresses;
use http::StatusCode;
use tokio::time::{Instant, timeout_at};
use tracing::info;
use zeroize::Zeroizing;

use super::answer::{Answer, Failure, ok};
use super::{ApiSettings, Caller, JoinApi};
use crate::authority::{Authority, CertificateRequest};
use crate::kubeadm::CaPin;
use crate::protocol::{
    ClusterFacts, Done, HEARTBEAT, Heartbeat, JOIN_WAIT, JoinAnswer, JoinOutcome, JoinRequest,
    MEMBER_CERTIFICATE, Registered, Registration, Renewal, WorkResult,
};
use crate::registry::members::{Claim, MemberRecord};
use crate::registry::policy;
use crate::registry::refusal::Refused;
use crate::sealing;

/// What a wrong ticket gets, whatever is wrong with it: whoever guesses learns nothing.
const WRONG_TICKET: &str = "the ticket is not valid: wrong, expired, revoked or used up; make a new \
                            one on the balancer with `mainstay ticket create`";

/// The id of the caller's ticket; none if it brings none.
pub(super) async fn ticket(
    api: &JoinApi,
    caller: &Caller,
    token: Option<Zeroizing<String>>,
) -> Result<Option<String>, Failure> {
    let source = caller.peer.ip();
    if let Err(wait) = api.may_try(source) {
        api.counts().limited();
        return Err(Failure::limited(wait));
    }
    let Some(token) = token else {
        return Ok(None);
    };
    let checked = api
        .coordinator()
        .look(move |registry, now| registry.tickets.check(&token, now.unix))
        .await?;
    checked.map(Some).map_err(|reason| {
        api.wrong_ticket(source);
        api.counts().rejection(reason);
        info!(%source, %reason, "a ticket was refused");
        Failure::new(StatusCode::UNAUTHORIZED, WRONG_TICKET)
    })
}

/// The member that the caller is, by its certificate.
pub(super) async fn member(api: &JoinApi, caller: &Caller) -> Result<String, Failure> {
    let Some((name, key)) = caller.identity.clone() else {
        let sentence = "only members may ask this; register first";
        return Err(Failure::new(StatusCode::UNAUTHORIZED, sentence));
    };
    let asked = name.clone();
    let known = api
        .coordinator()
        .look(move |registry, _| registry.members.with_key(&asked, &key).is_some());
    if known.await? { Ok(name) } else { Err(Refused::unknown(&name).into()) }
}

/// A master wants to be a member.
pub(super) async fn register(
    api: &JoinApi,
    caller: &Caller,
    ticket: Option<String>,
    wish: Registration,
) -> Result<Answer, Failure> {
    let result = try_register(api, caller, ticket, wish).await;
    api.counts().registration(result.is_ok());
    if result.as_ref().is_err_and(Failure::is_unauthorized) {
        // Trying names without a ticket is guessing too.
        api.wrong_ticket(caller.peer.ip());
    }
    result
}

async fn try_register(
    api: &JoinApi,
    caller: &Caller,
    ticket: Option<String>,
    wish: Registration,
) -> Result<Answer, Failure> {
    let request = certificate_request(&wish.csr, &wish.name)?;
    let cas = match &wish.cluster_ca {
        Some(pem) => CaPin::of_bundle(pem.as_bytes())
            .map_err(|error| Failure::malformed(format!("the cluster's CA: {error}")))?,
        None => Vec::new(),
    };
    let address = apiserver_address(&api.settings.borrow(), caller, &wish)?;
    let claim = Claim {
        name: wish.name,
        address,
        key: request.key(),
        intent: wish.intent,
        force: wish.force,
    };
    let ca = wish.cluster_ca;
    let record = api
        .coordinator()
        .attempt(move |registry, now| {
            let (name, key) = (claim.name.clone(), claim.key.clone());
            let record = registry.register(claim, ticket.as_deref(), &cas, now)?;
            if registry.may_teach(&name).is_ok() {
                registry.learn(&name, ca.as_deref(), None)?;
            }
            let ends = now.unix.saturating_add(MEMBER_CERTIFICATE.as_secs());
            registry.members.certified(&name, &key, ends);
            Ok::<_, Refused>(record)
        })
        .await??;
    registered(api, caller, &record, &request).await
}

fn apiserver_address(
    settings: &ApiSettings,
    caller: &Caller,
    wish: &Registration,
) -> Result<SocketAddr, Refused> {
    let address = policy::address(caller.peer.ip(), wish.address, wish.port, &settings.allow)?;
    // Where they cannot be read, the loopback addresses still are known.
    let own = OwnAddresses::read().unwrap_or_default();
    policy::no_loop(address, &settings.listen, &own)?;
    Ok(address)
}

/// A request for a certificate of this name, signed by its key.
fn certificate_request(csr: &str, name: &str) -> Result<CertificateRequest, Failure> {
    let request = Authority::request(csr).map_err(|error| Failure::malformed(error.to_string()))?;
    if request.common_name() == Some(name) {
        return Ok(request);
    }
    let sentence = "the certificate request is for another name than the registration";
    Err(Failure::new(StatusCode::FORBIDDEN, sentence))
}

async fn registered(
    api: &JoinApi,
    caller: &Caller,
    record: &MemberRecord,
    request: &CertificateRequest,
) -> Result<Answer, Failure> {
    let internal = |error: &dyn std::fmt::Display| {
        Failure::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    };
    let certificate =
        api.authority().certify(&record.name, request).map_err(|error| internal(&error))?;
    let cluster_ca =
        api.coordinator().look(|registry, _| registry.cluster.ca().map(str::to_owned)).await?;
    Ok(ok(&Registered {
        name: record.name.clone(),
        address: record.address,
        certificate: certificate.pem,
        valid_for_seconds: MEMBER_CERTIFICATE.as_secs(),
        coordinator_ca: api.authority().pem().to_owned(),
        endpoint: api.endpoint(caller.local),
        cluster_ca,
    }))
}

/// A member wants a new certificate.
pub(super) async fn renew(
    api: &JoinApi,
    name: &str,
    caller: &Caller,
    wish: Renewal,
) -> Result<Answer, Failure> {
    let request = certificate_request(&wish.csr, name)?;
    let (name, key) = (name.to_owned(), request.key());
    let record = api
        .coordinator()
        .attempt(move |registry, now| {
            let ends = now.unix.saturating_add(MEMBER_CERTIFICATE.as_secs());
            registry.members.certified(&name, &key, ends);
            registry.members.of(&name).cloned().ok_or_else(|| Refused::unknown(&name))
        })
        .await??;
    registered(api, caller, &record, &request).await
}

/// A member is there: the answer waits for work or a change of its state.
pub(super) async fn heartbeat(
    api: &JoinApi,
    name: &str,
    heartbeat: Heartbeat,
) -> Result<Answer, Failure> {
    let beat = || {
        let (name, heartbeat) = (name.to_owned(), heartbeat.clone());
        api.coordinator().attempt(move |registry, now| registry.heartbeat(&name, &heartbeat, now))
    };
    let first = beat().await??;
    if first.work.is_some() || heartbeat.seen.as_deref() != Some(first.state.as_str()) {
        return Ok(ok(&first));
    }
    let state = first.state.clone();
    let news = held(api, HEARTBEAT, || {
        let (name, state) = (name.to_owned(), state.clone());
        api.coordinator().look(move |registry, now| {
            let seen = registry.state_of(&name).map_or("", |seen| seen.state.name());
            registry.members.of(&name).is_none() || registry.has_work(&name, now) || seen != state
        })
    });
    let answer = if news.await? { beat().await?? } else { first };
    Ok(ok(&answer))
}

/// A joiner asks for its turn: the answer waits for one that it has not seen.
pub(super) async fn join(
    api: &JoinApi,
    name: &str,
    request: JoinRequest,
) -> Result<Answer, Failure> {
    sealing::public_bytes(&request.sealing_key)
        .map_err(|error| Failure::malformed(error.to_string()))?;
    let ask = || {
        let (name, request) = (name.to_owned(), request.clone());
        api.coordinator().attempt(move |registry, now| registry.join(&name, &request, now))
    };
    let first = ask().await??;
    if request.seen != Some(first.phase) {
        return Ok(ok(&first));
    }
    let seen = said(&first);
    let news = held(api, JOIN_WAIT, || {
        let (name, seen) = (name.to_owned(), seen.clone());
        api.coordinator()
            .look(move |registry, now| said(&registry.turns.peek(&name, now.run)) != seen)
    });
    let answer = if news.await? { ask().await?? } else { first };
    Ok(ok(&answer))
}

/// What is news for a joiner: anything but the time that is left.
fn said(answer: &JoinAnswer) -> (crate::protocol::JoinPhase, usize, String) {
    (answer.phase, answer.position, answer.message.clone())
}

/// Waits until `news` is true, looking after each change; false if it was not in time. Cancel-safe.
async fn held<F, A>(api: &JoinApi, limit: Duration, news: F) -> Result<bool, Failure>
where
    F: Fn() -> A,
    A: Future<Output = Result<bool, crate::coordinator::CoordinatorError>>,
{
    let end = Instant::now() + limit;
    let mut changes = api.coordinator().changes();
    loop {
        changes.borrow_and_update();
        if news().await? {
            return Ok(true);
        }
        // A change that is there already is heard before the time that is over.
        let over = Instant::now() >= end;
        if over || !matches!(timeout_at(end, changes.changed()).await, Ok(Ok(()))) {
            return Ok(false);
        }
    }
}

/// A joiner says how kubeadm ended.
pub(super) async fn joined(
    api: &JoinApi,
    name: &str,
    outcome: JoinOutcome,
) -> Result<Answer, Failure> {
    let name = name.to_owned();
    api.coordinator().ask(move |registry, now| registry.joined(&name, &outcome, now)).await?;
    Ok(ok(&Done {}))
}

/// An agent says how its work went.
pub(super) async fn worked(
    api: &JoinApi,
    name: &str,
    result: WorkResult,
) -> Result<Answer, Failure> {
    let name = name.to_owned();
    api.coordinator().attempt(move |registry, now| registry.worked(&name, result, now)).await??;
    Ok(ok(&Done {}))
}

/// What a member may know of the cluster: everything but the coordinator's kubeconfig.
pub(super) async fn cluster(api: &JoinApi) -> Result<Answer, Failure> {
    let ca = api.coordinator().look(|registry, _| registry.cluster.ca().map(str::to_owned)).await?;
    Ok(ok(&ClusterFacts { ca, kubeconfig: None }))
}

/// A member says what it knows of the cluster.
pub(super) async fn learn(
    api: &JoinApi,
    name: &str,
    facts: ClusterFacts,
) -> Result<Answer, Failure> {
    let name = name.to_owned();
    api.coordinator()
        .attempt(move |registry, _| {
            registry.may_teach(&name)?;
            registry.learn(&name, facts.ca.as_deref(), facts.kubeconfig)
        })
        .await??;
    Ok(ok(&Done {}))
}

/// A member goes.
pub(super) async fn leave(api: &JoinApi, name: &str) -> Result<Answer, Failure> {
    let name = name.to_owned();
    api.coordinator().ask(move |registry, now| registry.leave(&name, now)).await?;
    Ok(ok(&Done {}))
}
