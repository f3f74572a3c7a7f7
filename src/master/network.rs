//! The machine's own name and addresses.

use std::net::IpAddr;

use bootstrap::kubeadm::is_dns_subdomain;
use common::OwnAddresses;

use crate::exit::Stop;

/// The name that kubeadm would give this node: the machine's, in lower case.
pub(crate) fn machine_name() -> Result<String, Stop> {
    let uname = rustix::system::uname();
    let name = uname.nodename().to_string_lossy().trim().to_lowercase();
    if is_node_name(&name) {
        return Ok(name);
    }
    Err(Stop::usage(format!("the machine's name `{name}` is no name for a node; give --node-name")))
}

/// Longest label of a DNS name (RFC 1035). Kubernetes takes longer ones; no resolver does.
const LABEL_MAX: usize = 63;

/// A DNS subdomain, as Kubernetes wants it.
pub(crate) fn is_node_name(name: &str) -> bool {
    is_dns_subdomain(name) && name.split('.').all(|label| label.len() <= LABEL_MAX)
}

/// Whether this machine has the address. Behind a NAT the coordinator sees another one.
pub(crate) fn is_ours(address: IpAddr) -> bool {
    // Where the kernel does not tell, kubeadm looks for an address by itself.
    OwnAddresses::read().is_ok_and(|own| own.has(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_nodes() {
        for name in ["master1", "m-1.example.com", "0"] {
            assert!(is_node_name(name), "{name}");
        }
        for name in ["", "Master1", "a_b", "-a", "a-", "a..b", "a.", &"a".repeat(64)] {
            assert!(!is_node_name(name), "{name}");
        }
    }

    #[test]
    fn addresses_of_others_are_not_ours() {
        assert!(is_ours("127.0.0.1".parse().unwrap()));
        assert!(!is_ours("192.0.2.1".parse().unwrap()), "an address for documentation");
    }
}
