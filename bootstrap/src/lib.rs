//! The coordinator's side: where masters come from. Knows nothing of client sockets.

pub mod kubeadm;
