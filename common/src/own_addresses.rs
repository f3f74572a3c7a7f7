//! The addresses of this machine.
//!
//! Whether an address can be bound says nothing: with `net.ipv4.ip_nonlocal_bind`, which hosts of a
//! floating address have, every address can.

use std::collections::HashSet;
use std::io;
use std::net::IpAddr;

/// The addresses that the interfaces of this machine have now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnAddresses(HashSet<IpAddr>);

impl OwnAddresses {
    /// Asks the kernel.
    ///
    /// # Errors
    /// The kernel gave none: there is no memory, or no descriptor to ask it with.
    pub fn read() -> io::Result<Self> {
        Ok(if_addrs::get_if_addrs()?.into_iter().map(|interface| interface.ip()).collect())
    }

    /// Whether this machine has the address.
    #[must_use]
    pub fn has(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_loopback() || self.0.contains(&address)
    }
}

impl FromIterator<IpAddr> for OwnAddresses {
    fn from_iter<I: IntoIterator<Item = IpAddr>>(addresses: I) -> Self {
        Self(addresses.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_others_are_not_ours() {
        let own = OwnAddresses::read().unwrap();
        for ours in ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"] {
            assert!(own.has(ours.parse().unwrap()), "{ours}");
        }
        assert!(!own.has("192.0.2.1".parse().unwrap()), "an address for documentation");
        let of_an_interface: OwnAddresses = ["192.0.2.1".parse().unwrap()].into_iter().collect();
        assert!(of_an_interface.has("::ffff:192.0.2.1".parse().unwrap()));
    }
}
