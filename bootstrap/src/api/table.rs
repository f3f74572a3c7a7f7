//! Every request of the join API in one table: the router finds requests in it, and the tests
//! compare it with `docs/join-protocol.openapi.json`, so that neither has one more.

use http::{Method, StatusCode};

use crate::protocol;

/// One kind of request.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// Method, in capitals.
    pub method: &'static str,
    /// Path.
    pub path: &'static str,
    /// What is asked.
    pub call: Call,
    /// Every status with which it may be refused, in rising order.
    pub refusals: &'static [StatusCode],
}

/// What is asked, and so who may ask it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Anyone: does it answer?
    Live,
    /// Who has a ticket, or the registered key: to be a member.
    Register,
    /// Only members.
    Member(MemberCall),
}

/// What members ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberCall {
    /// "I am here."
    Heartbeat,
    /// A new certificate.
    Renew,
    /// "I go."
    Leave,
    /// How a work went.
    Work,
    /// What is the cluster?
    Cluster,
    /// This is the cluster.
    Learn,
    /// A turn to join.
    Join,
    /// How kubeadm ended.
    Outcome,
}

const MALFORMED: StatusCode = StatusCode::BAD_REQUEST;
const STRANGER: StatusCode = StatusCode::UNAUTHORIZED;
const FORBIDDEN: StatusCode = StatusCode::FORBIDDEN;
const SLOW: StatusCode = StatusCode::REQUEST_TIMEOUT;
const CONFLICT: StatusCode = StatusCode::CONFLICT;
const LARGE: StatusCode = StatusCode::PAYLOAD_TOO_LARGE;
const LIMITED: StatusCode = StatusCode::TOO_MANY_REQUESTS;
const BROKEN: StatusCode = StatusCode::INTERNAL_SERVER_ERROR;
const LATER: StatusCode = StatusCode::SERVICE_UNAVAILABLE;

/// What may be wrong with any body of a member, and nothing else.
const ANY_BODY: &[StatusCode] = &[MALFORMED, STRANGER, SLOW, LARGE, LATER];

/// [`ANY_BODY`], and what not every member may say.
const SOME_MEMBERS: &[StatusCode] = &[MALFORMED, STRANGER, FORBIDDEN, SLOW, LARGE, LATER];

/// What a request that is not in the table gets: strangers learn not even that.
pub const UNKNOWN: &[StatusCode] = &[STRANGER, StatusCode::NOT_FOUND, LATER];

/// Every request that there is.
pub const ROUTES: &[Route] = &[
    Route { method: "GET", path: protocol::LIVEZ, call: Call::Live, refusals: &[] },
    Route {
        method: "POST",
        path: protocol::MEMBERS,
        call: Call::Register,
        refusals: &[MALFORMED, STRANGER, FORBIDDEN, SLOW, CONFLICT, LARGE, LIMITED, BROKEN, LATER],
    },
    post(protocol::HEARTBEATS, MemberCall::Heartbeat, ANY_BODY),
    post(
        protocol::CERTIFICATE,
        MemberCall::Renew,
        &[MALFORMED, STRANGER, FORBIDDEN, SLOW, LARGE, BROKEN, LATER],
    ),
    post(protocol::LEAVE, MemberCall::Leave, ANY_BODY),
    post(protocol::WORK, MemberCall::Work, SOME_MEMBERS),
    Route {
        method: "GET",
        path: protocol::CLUSTER,
        call: Call::Member(MemberCall::Cluster),
        refusals: &[STRANGER, LATER],
    },
    Route {
        method: "PUT",
        path: protocol::CLUSTER,
        call: Call::Member(MemberCall::Learn),
        refusals: SOME_MEMBERS,
    },
    post(protocol::JOINS, MemberCall::Join, ANY_BODY),
    post(protocol::JOIN_OUTCOME, MemberCall::Outcome, ANY_BODY),
];

const fn post(path: &'static str, call: MemberCall, refusals: &'static [StatusCode]) -> Route {
    Route { method: "POST", path, call: Call::Member(call), refusals }
}

/// The route of a request.
pub(super) fn find(method: &Method, path: &str) -> Option<&'static Route> {
    ROUTES.iter().find(|route| route.method == method.as_str() && route.path == path)
}
