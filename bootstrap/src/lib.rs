//! The coordinator's side: where masters come from, and what kubeadm needs to make one.
//!
//! It knows masters, not client sockets; what it learns it writes into the feed that the balancer
//! reads ([`membership`]). [`kubeadm`] holds kubeadm's formats, without any input or output of its
//! own but the certificate directory; [`cluster`] carries them to and from the Kubernetes API.
//! [`store`] writes what must survive a crash.

pub mod cluster;
pub mod kubeadm;
pub mod membership;
pub mod store;

pub use membership::MembershipWriter;
