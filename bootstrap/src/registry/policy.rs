//! Which address a master may name as its apiserver's: its own, or one that the operator allows. So
//! nobody makes the balancer dial, or send clients to, a stranger or itself.

use std::net::{IpAddr, SocketAddr};

use common::OwnAddresses;
use common::config::ListenAddr;
use ipnet::IpNet;

use super::refusal::Refused;

/// The address of the apiserver of a caller at `peer` who wants `wanted`.
///
/// # Errors
/// [`Refused`] if it may not.
pub fn address(
    peer: IpAddr,
    wanted: Option<IpAddr>,
    port: u16,
    allowed: &[IpNet],
) -> Result<SocketAddr, Refused> {
    let peer = peer.to_canonical();
    let ip = wanted.map_or(peer, |wanted| wanted.to_canonical());
    if port == 0 {
        return Err(Refused::malformed("the port of the apiserver is 0; it is 6443 as a rule"));
    }
    if ip.is_unspecified() || ip.is_multicast() {
        return Err(Refused::malformed(format!("{ip} is not the address of one host")));
    }
    if ip == peer || allowed.iter().any(|network| network.contains(&ip)) {
        return Ok(SocketAddr::new(ip, port));
    }
    Err(Refused::forbidden(format!(
        "you come from {peer} and may not register {ip}; leave the address out, or let the operator \
         of the balancer add its network to `join.allow`"
    )))
}

/// Keeps the balancer from sending clients to itself: it listens on `listen`, on a machine with the
/// addresses `own`.
///
/// # Errors
/// [`Refused`] if `address` is one of them.
pub fn no_loop(
    address: SocketAddr,
    listen: &[ListenAddr],
    own: &OwnAddresses,
) -> Result<(), Refused> {
    if listen.iter().any(|it| it.accepts(address, own)) {
        return Err(Refused::malformed(format!(
            "{address} is the balancer itself, clients would go in a circle; name the address and \
             port of the apiserver (--advertise-address, --apiserver-port)"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_own_or_an_allowed_one() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let allowed: Vec<IpNet> =
            vec!["10.1.0.0/24".parse().unwrap(), "fd00::/64".parse().unwrap()];
        let table = [
            ("10.0.0.1", None, Some("10.0.0.1:6443")),
            ("::ffff:10.0.0.1", None, Some("10.0.0.1:6443")),
            ("10.0.0.1", Some("10.0.0.1"), Some("10.0.0.1:6443")),
            ("10.0.0.1", Some("10.1.0.9"), Some("10.1.0.9:6443")),
            ("10.0.0.1", Some("fd00::9"), Some("[fd00::9]:6443")),
            ("10.0.0.1", Some("10.0.0.2"), None),
            ("10.0.0.1", Some("127.0.0.1"), None),
            ("10.0.0.1", Some("0.0.0.0"), None),
            ("10.0.0.1", Some("224.0.0.1"), None),
            ("127.0.0.1", None, Some("127.0.0.1:6443")),
        ];
        for (peer, wanted, expected) in table {
            let got = address(ip(peer), wanted.map(ip), 6443, &allowed);
            let expected = expected.map(|text| text.parse().unwrap());
            assert_eq!(got.ok(), expected, "{peer} {wanted:?}");
        }
        assert!(address(ip("10.0.0.1"), None, 0, &[]).is_err());
    }

    #[test]
    fn never_the_balancer_itself() {
        let own: OwnAddresses = ["10.0.0.10".parse().unwrap()].into_iter().collect();
        let table = [
            ("[::]:6443", "10.0.0.10:6443", false),
            ("[::]:6443", "127.0.0.1:6443", false),
            ("[::]:6443", "10.0.0.10:7443", true),
            ("[::]:6443", "10.0.0.1:6443", true),
            ("10.0.0.10:6443", "10.0.0.10:6443", false),
            // An apiserver beside the balancer, each on its own address.
            ("10.0.0.100:6443", "10.0.0.10:6443", true),
        ];
        for (listen, wanted, allowed) in table {
            let listen = [ListenAddr::parse(listen).unwrap()];
            let got = no_loop(wanted.parse().unwrap(), &listen, &own);
            assert_eq!(got.is_ok(), allowed, "{listen:?} {wanted}");
        }
    }
}
