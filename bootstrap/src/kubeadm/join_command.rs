//! The line that `kubeadm token create --print-join-command` prints, and its control-plane form.

use zeroize::Zeroizing;

use super::ca_pin::CaPin;
use super::key::CertificateKey;
use super::token::BootstrapToken;
use super::version::KubernetesVersion;

/// What a join command says.
#[derive(Debug, Clone, Copy)]
pub struct JoinCommand<'a> {
    /// `HOST:PORT` to ask first; see [`ClusterAccess::join_address`](super::ClusterAccess).
    pub address: &'a str,
    /// The token, for discovery and login.
    pub token: &'a BootstrapToken,
    /// A pin for each CA of the cluster, the most lasting first.
    pub pins: &'a [CaPin],
    /// As what the machine joins.
    pub role: JoinRole<'a>,
}

/// As what a machine joins.
#[derive(Debug, Clone, Copy)]
pub enum JoinRole<'a> {
    /// As a worker.
    Worker,
    /// As a master that fetches the uploaded certificates.
    ControlPlane(&'a CertificateKey),
}

/// A rendered line. It shows the token and perhaps the key, so it is wiped on drop.
pub type JoinLine = Zeroizing<String>;

impl JoinCommand<'_> {
    /// The command on one line for a kubeadm of this version, without line end.
    ///
    /// The blanks are kubeadm's own, one at the end of a worker's line included: its template was
    /// indented by four blanks, which stayed when the line breaks went (measured on 1.20.2), and
    /// later by tabs (measured on 1.36.2). Where the change lies is not known, so the wide form is
    /// given up to 1.20. kubeadm itself reads both.
    #[must_use]
    pub fn render(&self, version: &KubernetesVersion) -> JoinLine {
        let indent = if version.is_at_least(21) { "" } else { "    " };
        let token = self.token.to_text();
        let mut line = Zeroizing::new(String::with_capacity(512 + 96 * self.pins.len()));
        for part in ["kubeadm join ", self.address, " --token ", &token, " ", indent] {
            line.push_str(part);
        }
        for pin in self.pins {
            line.push_str("--discovery-token-ca-cert-hash ");
            line.push_str(&pin.to_string());
            line.push(' ');
        }
        if let JoinRole::ControlPlane(key) = self.role {
            let key = key.to_hex();
            let flag = version.control_plane_flag();
            for part in [indent, flag, " --certificate-key ", &key] {
                line.push_str(part);
            }
        }
        line
    }
}
