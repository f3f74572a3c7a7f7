//! Hands everything over to a new process of the program, perhaps of a newer version: ports,
//! established sessions, counts and health. No byte is lost and no connection reset.
//!
//! [`steps`] decides, [`channel`] and [`frame`] are how the two talk, [`giver`] drives the old process
//! and [`heir`] the new one. The old one starts the new one as its child, with the channel as its
//! standard input and [`ENVIRONMENT`] set. If anything is wrong before the token is read, the old one
//! ends its child and goes on.
//!
//! Whoever has another listening socket, or a lock, passes it under a name: [`Passed`] on the old
//! side, [`Heir::socket`] on the new one.

mod channel;
mod desk;
mod frame;
mod giver;
mod heir;
mod launch;
mod steps;
mod token;

pub(crate) use desk::Desk;
pub(crate) use frame::ProgramRecord;
pub(crate) use giver::{Giver, Outcome, Passed};
pub(crate) use heir::{Claim, Heir};

/// Says to a new process that its standard input is a channel to an old one.
const ENVIRONMENT: &str = "MAINSTAY_HANDOVER";

/// Its only value.
const ENVIRONMENT_VALUE: &str = "stdin";

/// Name of the admin socket among those that are passed.
pub(crate) const ADMIN: &str = "admin";

/// Name of the lock of the state directory among them: both processes hold it for a moment.
pub(crate) const STATE_DIR: &str = "state-dir";

/// Name of the join listener among the sockets that are passed.
pub(crate) const JOIN: &str = "join";
