//! Addresses as NGINX and HAProxy write them. What is none that we can use is a sentence that says
//! why, and what to do.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::proxy::shown;

/// NGINX's `listen`: `6443`, `*:6443`, `10.0.0.1:6443`, `[::]:6443`, `localhost:6443`.
pub(super) fn nginx_listen(text: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = text.parse::<u16>() {
        return Ok((Ipv4Addr::UNSPECIFIED, port).into());
    }
    let (host, port) = split(text)?;
    Ok(SocketAddr::new(host_of(host, Ipv4Addr::UNSPECIFIED.into())?, one_port(port)?))
}

/// NGINX's `server` and `proxy_pass`: always with a port.
pub(super) fn nginx_server(text: &str) -> Result<SocketAddr, String> {
    let (host, port) = split(text)?;
    if host.is_empty() || host == "*" {
        return Err(format!("`{}` names no host", shown(text)));
    }
    Ok(SocketAddr::new(host_of(host, Ipv4Addr::UNSPECIFIED.into())?, one_port(port)?))
}

/// HAProxy's `bind`: `*:6443`, `:6443`, `:::6443`, `ipv6@:6443`, `10.0.0.1:6443`.
pub(super) fn haproxy_bind(text: &str) -> Result<SocketAddr, String> {
    let (any, rest) = family(text)?;
    let (host, port) = split(rest)?;
    Ok(SocketAddr::new(host_of(host, any)?, one_port(port)?))
}

/// HAProxy's `server`: without a port it is the one that the client came to.
pub(super) fn haproxy_server(text: &str, client_port: Option<u16>) -> Result<SocketAddr, String> {
    let (any, rest) = family(text)?;
    let bare = rest.trim_end_matches(':');
    if let Ok(ip) = bare.trim_start_matches('[').trim_end_matches(']').parse::<Ipv4Addr>() {
        let port = client_port.ok_or("has no port, and the section listens on several")?;
        return Ok((ip, port).into());
    }
    let (host, port) = split(rest)?;
    if port.starts_with(['+', '-']) {
        return Err(
            "has a port that is counted from the client's; write the port itself".to_owned()
        );
    }
    if host.is_empty() || host == "*" {
        return Err("is the address that the client asked for; write the addresses of the masters"
            .to_owned());
    }
    Ok(SocketAddr::new(host_of(host, any)?, one_port(port)?))
}

/// The family that HAProxy's prefix asks for, and the rest.
fn family(text: &str) -> Result<(IpAddr, &str), String> {
    let (v4, v6) = (Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into());
    match text.split_once('@') {
        None if text.starts_with('/') => Err(no_socket(text)),
        None => Ok((v4, text)),
        Some(("ipv4" | "tcp" | "tcp4", rest)) => Ok((v4, rest)),
        Some(("ipv6" | "tcp6", rest)) => Ok((v6, rest)),
        Some(_) => Err(no_socket(text)),
    }
}

fn no_socket(text: &str) -> String {
    format!("`{}` is no TCP address", shown(text))
}

/// Host and port: the port stands behind the last colon.
fn split(text: &str) -> Result<(&str, &str), String> {
    if text.starts_with("unix:") || text.starts_with('/') {
        return Err(no_socket(text));
    }
    if ["${", "$(", "{{", "<"].iter().any(|mark| text.contains(mark)) || text.starts_with('$') {
        let shown = shown(text);
        return Err(format!("`{shown}` is a variable; write the address that it stands for"));
    }
    match text.rsplit_once(':') {
        Some((host, port)) if !host.starts_with('[') || host.ends_with(']') => {
            Ok((host.trim_start_matches('[').trim_end_matches(']'), port))
        }
        _ => Err(format!("`{}` has no port", shown(text))),
    }
}

fn host_of(host: &str, any: IpAddr) -> Result<IpAddr, String> {
    match host {
        "" | "*" => Ok(any),
        // The one name that every host knows, and the same everywhere.
        "localhost" => Ok(Ipv4Addr::LOCALHOST.into()),
        _ => host.parse().map_err(|_| {
            let name = shown(host);
            format!(
                "`{name}` is a name, and a balancer must start while DNS is down; write the address \
                 that `getent ahosts {name}` prints"
            )
        }),
    }
}

fn one_port(text: &str) -> Result<u16, String> {
    let port = text.parse::<u16>().ok().filter(|port| *port > 0);
    port.ok_or_else(|| match text.contains('-') {
        true => format!("`{}` is a range of ports; write one", shown(text)),
        false => format!("`{}` is no port", shown(text)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> Result<SocketAddr, String> {
        Ok(text.parse().unwrap())
    }

    #[test]
    fn addresses_of_nginx() {
        assert_eq!(nginx_listen("6443"), addr("0.0.0.0:6443"));
        assert_eq!(nginx_listen("*:6443"), addr("0.0.0.0:6443"));
        assert_eq!(nginx_listen("[::]:6443"), addr("[::]:6443"));
        assert_eq!(nginx_listen("localhost:6443"), addr("127.0.0.1:6443"));
        assert_eq!(nginx_server("[2001:db8::1]:6443"), addr("[2001:db8::1]:6443"));
        for wrong in ["unix:/run/x.sock", "6443-6445", "lb.example:6443", "10.0.0.1", "70000", ""] {
            assert!(nginx_listen(wrong).is_err(), "{wrong}");
        }
        for wrong in ["10.0.0.1", "*:6443", "$backend", "unix:/x", "m:0", "[::1"] {
            assert!(nginx_server(wrong).is_err(), "{wrong}");
        }
        assert!(nginx_server("m.example:6443").unwrap_err().contains("getent ahosts m.example"));
    }

    #[test]
    fn addresses_of_haproxy() {
        for (text, expected) in [
            (":6443", "0.0.0.0:6443"),
            ("*:6443", "0.0.0.0:6443"),
            (":::6443", "[::]:6443"),
            ("[::]:6443", "[::]:6443"),
            ("ipv6@:6443", "[::]:6443"),
            ("ipv4@10.0.0.1:6443", "10.0.0.1:6443"),
        ] {
            assert_eq!(haproxy_bind(text), addr(expected), "{text}");
        }
        for wrong in ["/run/x.sock", "unix@/x", "abns@x", "fd@3", "6443", ":6443-6445", "*:${PORT}"]
        {
            assert!(haproxy_bind(wrong).is_err(), "{wrong}");
        }
        assert_eq!(haproxy_server("10.0.0.1", Some(6443)), addr("10.0.0.1:6443"));
        assert_eq!(haproxy_server("10.0.0.1:", Some(6443)), addr("10.0.0.1:6443"));
        assert_eq!(haproxy_server("2001:db8::1:6443", None), addr("[2001:db8::1]:6443"));
        assert_eq!(haproxy_server("[2001:db8::1]:6443", None), addr("[2001:db8::1]:6443"));
        for wrong in ["10.0.0.1", "10.0.0.1:+10", "*:6443", "web:6443", "${HOST1_ADDRESS}:6443"] {
            assert!(haproxy_server(wrong, None).is_err(), "{wrong}");
        }
    }
}
