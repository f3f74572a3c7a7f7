//! Whether a backend may get new connections, and whether its established ones must be cut: two
//! questions, answered apart.
//!
//! [`judge`] decides, without I/O or clock; [`prober`] asks the apiservers and reports what each
//! answer was; [`keeper`] owns the judges, publishes what they say as one snapshot of the pool, cuts
//! sessions and opens or closes the port.

pub mod identity;
pub mod judge;
pub mod keeper;
pub mod outcome;
pub mod prober;
pub mod timetable;

pub use judge::{DrainedBy, HealthJudge, Rank, State, Transition};
pub use keeper::{Command, HealthFeed, Keeper, MemberHealth};
pub use outcome::Outcome;
