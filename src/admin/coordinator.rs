//! The operator's side of the coordinator: tickets, and members that are gone for good.

use bootstrap::coordinator::CoordinatorError;
use bootstrap::kubeadm::{BootstrapToken, OsRandom};
use bootstrap::registry::tickets::{Terms, TicketBookError};
use common::coordinator::TicketStatus;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::Report;
use super::routes::{self, Answer, Caller, TEXT, response};
use crate::serve::Join;

/// Tickets: `GET` lists them, `POST` makes one, `DELETE …/ID` revokes one.
pub(crate) const TICKETS: &str = "/v1/tickets";

/// Registered members: `DELETE …/NAME` forgets one.
pub(crate) const REGISTERED: &str = "/v1/registered";

/// Largest body of a request.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// What a new ticket shall be.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TicketWish {
    /// A token of the operator's choice, so that several coordinators can have the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<Zeroizing<String>>,
    /// Seconds until it ends; none for one that never does.
    #[serde(default)]
    pub(crate) ttl_seconds: Option<u64>,
    /// How many masters may register with it; none for any number.
    #[serde(default)]
    pub(crate) uses: Option<u32>,
    /// For people.
    #[serde(default)]
    pub(crate) description: String,
}

/// A ticket that was made. The one time that its token is shown.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct NewTicket {
    /// The token.
    pub(crate) token: Zeroizing<String>,
    /// Pin of the coordinator's CA.
    pub(crate) pin: String,
    /// Address on which the coordinator listens; perhaps of no single host.
    pub(crate) listen: String,
    /// Port of the coordinator.
    pub(crate) port: u16,
}

/// The answer to a request about tickets or registered members; none if it is about neither.
pub(super) async fn answer(
    report: &Report,
    caller: Caller,
    method: &Method,
    path: &str,
    body: Incoming,
) -> Option<Answer> {
    let about_tickets = path.strip_prefix(TICKETS).filter(|rest| is_rest(rest));
    let about_members = path.strip_prefix(REGISTERED).filter(|rest| is_rest(rest));
    let rest = about_tickets.or(about_members)?.trim_start_matches('/');
    let Some(join) = report.join() else {
        let sentence = "no coordinator runs here: see `join.listen`\n";
        return Some(response(StatusCode::NOT_FOUND, TEXT, sentence));
    };
    if *method == Method::GET && about_tickets.is_some() && rest.is_empty() {
        let tickets: Vec<TicketStatus> = join.coordinator().status().tickets.clone();
        return Some(routes::json(&tickets));
    }
    if caller != Caller::Operator {
        return Some(response(StatusCode::UNAUTHORIZED, TEXT, "verbs need the admin token\n"));
    }
    let done = match (method, about_tickets.is_some(), rest) {
        (&Method::POST, true, "") => create(join, body).await,
        (&Method::DELETE, true, id) if !id.is_empty() => revoke(join, id).await,
        (&Method::DELETE, false, name) if !name.is_empty() => forget(join, name).await,
        _ => Ok(response(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET, POST, DELETE\n")),
    };
    Some(done.unwrap_or_else(|error| {
        response(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{error}\n"))
    }))
}

fn is_rest(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with('/')
}

async fn create(join: &Join, body: Incoming) -> Result<Answer, CoordinatorError> {
    let wrong = |sentence: String| Ok(response(StatusCode::BAD_REQUEST, TEXT, sentence));
    let Ok(body) = Limited::new(body, BODY_BYTES_MAX).collect().await else {
        return wrong("the body is too large or broke off\n".to_owned());
    };
    let body = Zeroizing::new(body.to_bytes().to_vec());
    // The parser's message may quote the token.
    let Ok(wish) = serde_json::from_slice::<TicketWish>(&body) else {
        return wrong("the body is no wish for a ticket\n".to_owned());
    };
    let token = match &wish.token {
        Some(text) => text.parse::<BootstrapToken>().map_err(|error| error.to_string()),
        None => BootstrapToken::generate(&mut OsRandom).map_err(|error| error.to_string()),
    };
    let token = match token {
        Ok(token) => token,
        Err(error) => return wrong(format!("{error}\n")),
    };
    let shown = token.to_text();
    let terms =
        Terms { ttl_seconds: wish.ttl_seconds, uses: wish.uses, description: wish.description };
    let made = join
        .coordinator()
        .attempt(move |registry, now| registry.tickets.add(&token, terms, now.unix));
    match made.await? {
        Ok(()) => Ok(routes::json(&NewTicket {
            token: shown,
            pin: join.api.authority().pin().to_string(),
            listen: join.addr.ip().to_string(),
            port: join.addr.port(),
        })),
        Err(error @ (TicketBookError::Taken | TicketBookError::Full)) => {
            Ok(response(StatusCode::CONFLICT, TEXT, format!("{error}\n")))
        }
    }
}

async fn revoke(join: &Join, id: &str) -> Result<Answer, CoordinatorError> {
    let id = id.to_owned();
    let revoked = join.coordinator().ask(move |registry, _| registry.tickets.revoke(&id)).await?;
    Ok(done(revoked, "there is no such ticket; `mainstay ticket list` shows them\n"))
}

async fn forget(join: &Join, name: &str) -> Result<Answer, CoordinatorError> {
    let name = name.to_owned();
    let gone = join.coordinator().ask(move |registry, now| registry.leave(&name, now)).await?;
    Ok(done(gone, "nobody of this name is registered; `mainstay status` shows the members\n"))
}

fn done(found: bool, missing: &'static str) -> Answer {
    if found {
        routes::json(&serde_json::json!({}))
    } else {
        response(StatusCode::NOT_FOUND, TEXT, missing)
    }
}
