//! Networks of pods and services, looked at before they go into a file that kubeadm reads later.

use ipnet::IpNet;

/// The text as it is, if it is one network, or one of each kind of address with a comma between
/// them, as dual-stack clusters have them.
pub(super) fn checked(text: &str) -> Result<String, String> {
    let networks: Vec<IpNet> = text.split(',').map(network).collect::<Result<_, _>>()?;
    match networks.as_slice() {
        [_] => Ok(text.to_owned()),
        [one, other] if one.addr().is_ipv4() != other.addr().is_ipv4() => Ok(text.to_owned()),
        [_, _] => Err("two networks must be one of IPv4 and one of IPv6".to_owned()),
        _ => Err("at most two networks".to_owned()),
    }
}

fn network(text: &str) -> Result<IpNet, String> {
    text.parse().map_err(|_| format!("`{text}` is no network like 10.244.0.0/16"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_taken_as_kubeadm_takes_them() {
        for good in ["10.244.0.0/16", "fd00:10:244::/56", "10.244.0.0/16,fd00:10:244::/56"] {
            assert_eq!(checked(good).as_deref(), Ok(good));
        }
        for bad in [
            "",
            "banana",
            "10.244.0.0",
            "10.0.0.0/33",
            "10.0.0.0/16,10.1.0.0/16",
            "::/0,10.0.0.0/8,::/0",
        ] {
            assert!(checked(bad).is_err(), "{bad}");
        }
    }
}
