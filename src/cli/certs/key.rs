//! `mainstay certs key`: a new certificate key.

use std::io::Write;

use bootstrap::kubeadm::{CertificateKey, OsRandom};
use clap::Args;

/// Print a new certificate key: 32 random bytes as 64 hexadecimal digits.
///
/// Keep it in a file that only you can read; the other commands take it from there.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  (umask 077; mainstay certs key > certs.key)")]
pub(super) struct Key {}

impl Key {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let key = CertificateKey::generate(&mut OsRandom)?;
        Ok(writeln!(std::io::stdout().lock(), "{}", *key.to_hex())?)
    }
}
