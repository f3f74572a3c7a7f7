//! What passes from one process to the next one, so that an upgrade cuts nobody.
//!
//! Nothing here knows how it travels. The old process lets its sessions stand still
//! ([`Balancer::stand_still`]), reads them as [`Parcel`]s and the rest as an [`Estate`]; the new one
//! makes them its own ([`Balancer::inherit`], [`Balancer::receive`]). Either then goes on with
//! [`Balancer::go_on`], and the other one lets go with [`Balancer::let_go`]: a session moves bytes
//! in one process at a time.
//!
//! A session stands still between two polls of its relay. Whatever it has taken and not given is then
//! in its record, in a pipe that is passed along, or in the bytes of the parcel.
//!
//! [`Balancer::stand_still`]: crate::Balancer::stand_still
//! [`Balancer::inherit`]: crate::Balancer::inherit
//! [`Balancer::receive`]: crate::Balancer::receive
//! [`Balancer::go_on`]: crate::Balancer::go_on
//! [`Balancer::let_go`]: crate::Balancer::let_go

mod arrive;
mod depart;
mod record;
mod standing;

pub use arrive::{Arrival, Arriving};
pub use depart::{Departure, Parcel, PortSockets};
pub use record::{
    BackendRecord, Counters, DirectionRecord, Estate, HeldRecord, LedgerRecord, PortRecord,
    SessionRecord, StreamRecord, WardRecord,
};
pub(crate) use standing::{Standing, StandingPlace};
