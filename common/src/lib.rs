//! The words and tools that the balancer (`lb`) and the coordinator (`bootstrap`) share.
//!
//! Neither of the two knows the other; what passes between them is defined here. In reading order:
//! the nouns ([`member`], [`health`]), what the operator set ([`config`]) and how files that it names
//! are read ([`files`]), how work is started and stopped ([`tasks`], [`drain`]) and how much of it a
//! server takes ([`places`]), what is told to the outside ([`status`], [`coordinator`], [`events`],
//! [`histogram`], [`metric_names`], [`duration`]), and what the host says ([`own_addresses`]).

pub mod health;
pub mod member;

pub mod config;
pub mod files;

pub mod drain;
pub mod places;
pub mod tasks;

pub mod coordinator;
pub mod duration;
pub mod events;
pub mod histogram;
pub mod metric_names;
pub mod own_addresses;
pub mod status;

pub use health::{HealthFeed, MemberState};
pub use member::{Member, Membership, MembershipFeed, Source};
pub use own_addresses::OwnAddresses;
pub use places::Places;
pub use tasks::Tasks;
