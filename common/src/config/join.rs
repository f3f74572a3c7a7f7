//! How masters reach the coordinator, and what it tells them.

use std::net::SocketAddr;

use ipnet::IpNet;

/// The settings of the coordinator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    /// Where masters register; none if there shall be no coordinator.
    pub listen: Option<SocketAddr>,
    /// Whether the operator chose that: a default that cannot be had is only warned of.
    pub listen_chosen: bool,
    /// `HOST:PORT` of the control plane as kubeadm shall know it.
    pub endpoint: Option<String>,
    /// Networks of which a master may name an address that it does not come from.
    pub allow: Vec<IpNet>,
}

/// Reads `IP:PORT` or `off`.
pub(super) fn parse_listen(text: &str) -> Result<Option<SocketAddr>, String> {
    if text == "off" {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        format!("`{text}` is no address to listen on; write `[::]:6445`, `10.0.0.10:6445` or `off`")
    })
}

/// Reads `HOST:PORT`; nothing is no endpoint.
pub(super) fn parse_endpoint(text: &str) -> Result<Option<String>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let wrong =
        || format!("`{text}` is no endpoint; write `lb.example.com:6443` or `10.0.0.10:6443`");
    if text.parse::<SocketAddr>().is_ok() {
        return Ok(Some(text.to_owned()));
    }
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    let is_name = !host.is_empty() && host.len() <= 253 && host.chars().all(fits);
    let is_port = port.parse::<u16>().is_ok_and(|port| port != 0);
    if is_name && is_port { Ok(Some(text.to_owned())) } else { Err(wrong()) }
}

/// Reads a network, or one address.
pub(super) fn parse_network(text: &str) -> Result<IpNet, String> {
    let one = text.parse::<std::net::IpAddr>().map(IpNet::from);
    text.parse().or(one).map_err(|_| format!("`{text}` is no network; write `10.0.0.0/24`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_operators_write() {
        assert_eq!(parse_listen("off"), Ok(None));
        assert!(parse_listen("[::]:6445").unwrap().is_some());
        assert_eq!(parse_endpoint(""), Ok(None));
        for good in ["lb.example.com:6443", "10.0.0.1:6443", "[fd00::1]:6443"] {
            assert_eq!(parse_endpoint(good), Ok(Some(good.to_owned())));
        }
        assert_eq!(parse_network("10.0.0.1").unwrap().to_string(), "10.0.0.1/32");
        assert_eq!(parse_network("fd00::/64").unwrap().to_string(), "fd00::/64");
    }

    #[test]
    fn refuses_the_rest() {
        for text in ["", "6445", "localhost:6445"] {
            assert!(parse_listen(text).is_err(), "{text}");
        }
        for text in ["lb", "lb:0", "LB:6443", ":6443", "lb:x", "a b:1"] {
            assert!(parse_endpoint(text).is_err(), "{text}");
        }
        for text in ["", "10.0.0.0/33", "net"] {
            assert!(parse_network(text).is_err(), "{text}");
        }
    }
}
