//! The join API as both of its sides see it: paths, bodies and limits. `docs/joining.md` tells
//! the story.
//!
//! JSON over HTTPS. The coordinator proves itself by a CA whose pin stands in the ticket, and is
//! always called [`COORDINATOR_NAME`], whatever address reached it. A member proves itself by the
//! certificate that it got when it registered; only registering takes the token of a ticket.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Where masters reach the coordinator if nobody says otherwise: next to the apiserver's 6443.
pub const JOIN_PORT: u16 = 6445;

/// The name in the coordinator's certificate. The pin is what counts; a fixed name lets the address
/// move, by VRRP or by NAT, without a new certificate.
pub const COORDINATOR_NAME: &str = "coordinator.mainstay.internal";

/// Largest body in either direction: a CA bundle, a CSR and a kubeconfig are a few KiB each.
pub const BODY_BYTES_MAX: usize = 128 * 1024;

/// Time between two heartbeats; the coordinator holds its answer for this long unless it has work
/// or another state than the member has seen.
pub const HEARTBEAT: Duration = Duration::from_secs(10);

/// A member that was not heard for this long is shown as missing.
pub const MISSING_AFTER: Duration = Duration::from_secs(30);

/// Longest that the answer to a joiner is held while nothing changes.
pub const JOIN_WAIT: Duration = Duration::from_secs(20);

/// Validity of a member's certificate; the agent renews it at half of that.
pub const MEMBER_CERTIFICATE: Duration = Duration::from_secs(24 * 3600);

/// `POST`, bearer token: [`Registration`] → [`Registered`]. Without a token for a key that is
/// registered already: the signature of the CSR is the proof then, and the address stays.
pub const MEMBERS: &str = "/v1/members";

/// `POST`, member: [`Heartbeat`] → [`HeartbeatAnswer`], held up to [`HEARTBEAT`] while the state is
/// the one that was seen.
pub const HEARTBEATS: &str = "/v1/member/heartbeat";

/// `POST`, member: [`Renewal`] → [`Registered`].
pub const CERTIFICATE: &str = "/v1/member/certificate";

/// `POST`, member: [`Leave`] → [`Done`].
pub const LEAVE: &str = "/v1/member/leave";

/// `POST`, member: [`WorkResult`] → [`Done`].
pub const WORK: &str = "/v1/work";

/// `PUT`, member: [`ClusterFacts`] → [`Done`]; `GET`, member: [`ClusterFacts`] without kubeconfig.
pub const CLUSTER: &str = "/v1/cluster";

/// `POST`, member: [`JoinRequest`] → [`JoinAnswer`], held up to [`JOIN_WAIT`] while nothing changes.
pub const JOINS: &str = "/v1/joins";

/// `POST`, member: [`JoinOutcome`] → [`Done`].
pub const JOIN_OUTCOME: &str = "/v1/joins/outcome";

/// `GET`, anyone: [`Done`].
pub const LIVEZ: &str = "/livez";

/// What a master wants when it registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Intent {
    /// To become the first master: only while the cluster has none.
    Init,
    /// To become a further master, by the join broker.
    Join,
    /// Nothing but to be a member: its operator runs kubeadm.
    Register,
}

/// "I am a master."
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registration {
    /// Name of the member, usually its node name: a DNS subdomain.
    pub name: String,
    /// Address of its apiserver if it is not the one that reaches the coordinator. Must lie in one
    /// of the coordinator's `join.allow` networks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// Port of its apiserver.
    pub port: u16,
    /// Certificate request, PEM, whose common name is `name`.
    pub csr: String,
    /// The cluster's CA certificates, PEM, if the machine has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_ca: Option<String>,
    /// What it wants.
    pub intent: Intent,
    /// With [`Intent::Init`]: also if there is a master already (`--first`).
    #[serde(default)]
    pub force: bool,
}

/// "You are a member."
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// Its name.
    pub name: String,
    /// Address at which its apiserver will be probed.
    pub address: SocketAddr,
    /// Its certificate, PEM.
    pub certificate: String,
    /// Seconds until the certificate ends.
    pub valid_for_seconds: u64,
    /// The coordinator's CA, PEM.
    pub coordinator_ca: String,
    /// `HOST:PORT` that kubeadm shall know as the control plane's, the balancer's.
    pub endpoint: String,
    /// The cluster's CA certificates, PEM, if they are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_ca: Option<String>,
}

/// "I am here." Doubles as the question for work.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Heartbeat {
    /// The machine is shutting down: no new connections.
    #[serde(default)]
    pub draining: bool,
    /// It can make credentials for a joiner: it has an administrator's kubeconfig and the CA keys.
    #[serde(default)]
    pub can_issue: bool,
    /// The state that is known already: the answer is held back while it still is this one and
    /// there is no work. Without it the answer comes at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<String>,
}

/// "I hear you."
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeartbeatAnswer {
    /// State of its backend, as `mainstay status` shows it: `PENDING`, `UP` …; empty if it is none.
    pub state: String,
    /// Why.
    pub why: String,
    /// What it shall do now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work: Option<Work>,
}

/// Something that an agent shall do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// Names the work in its [`WorkResult`].
    pub id: u64,
    /// What.
    #[serde(flatten)]
    pub task: Task,
}

/// What an agent can do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "task", rename_all = "snake_case")]
pub enum Task {
    /// Upload the certificates under a new key, make a bootstrap token of 15 minutes, and seal
    /// [`Credentials`] for the joiner.
    Issue {
        /// Name of the joiner; goes into the token's description and the seal.
        joiner: String,
        /// The joiner's public key; see [`crate::sealing`].
        sealing_key: String,
    },
    /// Delete what an `Issue` made.
    Revoke {
        /// What to delete.
        made: Made,
    },
}

/// What was made for a joiner and must not outlive its join. None of it is secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// Id of the bootstrap token.
    pub token_id: String,
    /// Id of the token that owns the `kubeadm-certs` Secret; deleting it deletes that too.
    pub owner_id: String,
    /// UID of the `kubeadm-certs` Secret, so that somebody else's later one is left alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certs_uid: Option<String>,
}

/// How a work went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkResult {
    /// Of the [`Work`].
    pub id: u64,
    /// How.
    pub result: WorkOutcome,
}

/// How a work went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkOutcome {
    /// The credentials are there.
    Issued {
        /// [`Credentials`], sealed for the joiner, base64.
        sealed: String,
        /// What to revoke later.
        made: Made,
    },
    /// What was to be deleted is gone.
    Revoked,
    /// It did not work.
    Failed {
        /// Why, in a sentence without secrets.
        reason: String,
        /// Nothing is wrong, but something must pass first: another attempt, for a while.
        #[serde(default, skip_serializing_if = "is_false")]
        wait: bool,
    },
}

/// What a joiner gives to kubeadm. Travels sealed; only the joiner can open it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    /// `HOST:PORT` of the control plane.
    pub endpoint: String,
    /// kubeadm's bootstrap token.
    pub token: zeroize::Zeroizing<String>,
    /// Pins of the cluster's CAs, `sha256:…`.
    pub ca_cert_hashes: Vec<String>,
    /// Key of the uploaded certificates, 64 hexadecimal digits.
    pub certificate_key: zeroize::Zeroizing<String>,
}

/// What is known of the cluster.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterFacts {
    /// CA certificates, PEM. The first to say them sets the pin; they must match it afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// The coordinator's own kubeconfig, with just enough rights to watch the apiservers' endpoints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubeconfig: Option<zeroize::Zeroizing<String>>,
}

/// "I want to join", and "I still do": asked again and again until the join has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinRequest {
    /// The joiner's public key; a new one asks for new credentials. See [`crate::sealing`].
    pub sealing_key: String,
    /// The turn and no credentials: another coordinator of the same cluster gives them. So one machine
    /// at a time joins whichever of them it asks.
    #[serde(default, skip_serializing_if = "is_false")]
    pub turn_only: bool,
    /// The answer that is known already: it is held back until there is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<JoinPhase>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

/// How far a join is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JoinPhase {
    /// Another join has the turn.
    Queued,
    /// It has the turn; a master makes the credentials.
    Issuing,
    /// The credentials are there, unless only the turn was asked for; kubeadm may run.
    Ready,
    /// kubeadm has ended well; the new apiserver is not in rotation yet.
    Settling,
    /// It is in rotation.
    Joined,
    /// It has ended without success; asking again begins anew.
    Failed,
}

/// How far the join is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinAnswer {
    /// How far.
    pub phase: JoinPhase,
    /// Joins before this one; 0 for the one that has the turn.
    pub position: usize,
    /// In words: who has the turn, what is waited for, why it failed.
    pub message: String,
    /// Seconds until the turn ends by itself; none while queued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_seconds: Option<u64>,
    /// Sealed [`Credentials`], base64, in [`JoinPhase::Ready`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<String>,
}

/// How kubeadm ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub struct JoinOutcome {
    /// Whether it ended well.
    pub joined: bool,
    /// Else why not, in a sentence without secrets.
    #[serde(default)]
    pub reason: String,
}

/// Asks for a new certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Renewal {
    /// Certificate request, PEM, for the registered key or a new one.
    pub csr: String,
}

/// "I go." The backend is drained and then forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leave {}

/// Nothing more to say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {}

/// The body of every answer that is no success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// What is wrong, and what to do.
    pub error: String,
}
