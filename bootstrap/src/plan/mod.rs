//! How a machine becomes a master: which steps, in which order, and which of them are done.
//!
//! Pure. [`MasterFiles`] is what was found on the disk, [`Stage`] what that means, [`Step`]s what
//! there is to do, [`KubeadmCommand`] what kubeadm of a given version is told.

mod command;
mod external_ca;
mod extra;
mod stage;
mod steps;

pub use command::{InitCommand, JoinCommandLine, KubeadmCommand, recommended};
pub use external_ca::{ExternalCa, has_authorities};
pub use extra::{Extra, ExtraError};
pub use stage::{MasterFiles, Stage};
pub use steps::{Goal, Planned, Step, plan};
