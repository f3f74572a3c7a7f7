//! The coordinator's side: where masters come from, and what kubeadm needs to make one.
//!
//! It knows masters, not client sockets; what it learns it writes into the feed that the balancer
//! reads ([`membership`], after [`sources`] has merged it; [`remembered`] keeps it over a restart).
//! [`kubeadm`] holds kubeadm's formats, without any input or output of its own but the certificate
//! directory; [`cluster`] carries them to and from the Kubernetes API, [`kubernetes`] watches it for
//! masters. [`store`] writes what must
//! survive a crash.
//! The coordinator proper is [`coordinator`], the task that owns the [`registry`] of pure rules; the
//! join [`api`] stands before it, and its [`authority`] certifies who is who.
//! On a master, [`identity`] is who it is, [`client`] how it talks to a coordinator, [`plan`] how it
//! becomes a master, and [`agent`] what it does as one.
//! [`protocol`] is what masters and the coordinator say to each other, [`ticket`] what an operator
//! carries between them, [`sealing`] what keeps the coordinator from reading credentials.

pub mod agent;
pub mod api;
pub mod authority;
pub mod client;
pub mod cluster;
pub mod coordinator;
pub mod identity;
pub mod kubeadm;
pub mod kubernetes;
pub mod membership;
pub mod plan;
pub mod protocol;
pub mod registry;
pub mod remembered;
pub mod sealing;
pub mod sources;
pub mod store;
pub mod ticket;

pub use membership::MembershipWriter;
