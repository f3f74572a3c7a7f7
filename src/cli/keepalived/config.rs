//! `mainstay keepalived config`: VRRP for one address and two equal balancers.
//!
//! Equal priorities are what keeps the address where it is: a balancer that comes back hears the
//! other one at its own priority and leaves it alone. A balancer that serves is worth more than one
//! that does not, so the address goes to where clients are served; if neither serves it stays, and
//! clients are refused at once instead of finding nobody.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use common::config::Config;

use crate::cli::ConfigOptions;
use crate::exit::{Exit, Stop};

/// The port of clients where the configuration leaves open which one is meant.
const PORT: u16 = 6443;

/// Longest name that Linux gives an interface.
const INTERFACE_MAX: usize = 15;

/// Print a keepalived configuration for an address that moves between two balancers.
///
/// Run it on each of the two hosts and write the output to /etc/keepalived/keepalived.conf. Both
/// have the same priority: an address that moved stays where it is. It moves when the balancer or
/// its host is gone or stands still, and when the other one serves clients and this one does not.
#[derive(Args, Debug)]
pub(super) struct ConfigCommand {
    /// The address that moves, with the length of its network, as 192.168.122.10/24.
    #[arg(long, value_name = "ADDR/LEN")]
    address: String,

    /// Network interface that gets it.
    #[arg(long, value_name = "NAME")]
    interface: String,

    /// Address of this host toward the other balancer; with --peer, VRRP is sent to it alone.
    #[arg(long, value_name = "ADDR", requires = "peer")]
    source: Option<IpAddr>,

    /// Address of the other balancer, for networks without multicast.
    #[arg(long, value_name = "ADDR", requires = "source")]
    peer: Option<IpAddr>,

    /// Number of the virtual router; nobody else in the network may have it.
    #[arg(long, value_name = "NUMBER", default_value_t = 51, value_parser = clap::value_parser!(u8).range(1..))]
    router: u8,

    /// User as whom keepalived asks the balancer: the one of the service, or root.
    #[arg(long, value_name = "USER", default_value = "root")]
    user: String,

    #[command(flatten)]
    options: ConfigOptions,
}

impl ConfigCommand {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let (_, config) = self.options.load()?;
        self.check(&config).map_err(|reason| Stop::new(Exit::Usage, reason))?;
        let program = std::env::current_exe().context("cannot find the path of this program")?;
        let text = self.text(&program, &config);
        std::io::stdout().write_all(text.as_bytes())?;
        Ok(())
    }

    /// What keepalived would not say, or only in its log.
    fn check(&self, config: &Config) -> Result<(), String> {
        let address = address(&self.address)?;
        let word = |text: &str| {
            !text.is_empty()
                && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.@".contains(c))
        };
        if !word(&self.interface) || self.interface.len() > INTERFACE_MAX {
            return Err(format!("--interface: `{}` is no name of one", self.interface));
        }
        if !word(&self.user) {
            return Err(format!("--user: `{}` is no name of a user", self.user));
        }
        if self.source.is_some_and(|source| Some(source) == self.peer) {
            return Err("--source and --peer are the same; --peer is the other balancer".into());
        }
        let listens = |addr: &common::config::ListenAddr| {
            let own = addr.0.ip();
            own == address || (own.is_unspecified() && (own.is_ipv6() || address.is_ipv4()))
        };
        if config.listen.iter().any(listens) {
            return Ok(());
        }
        let wanted =
            SocketAddr::new(address, config.listen.first().map_or(PORT, |addr| addr.0.port()));
        Err(format!(
            "--address: nothing listens on it; add `{wanted}` to `listen` (and set \
             net.ipv4.ip_nonlocal_bind=1), or listen on all addresses, `[::]:{}`",
            wanted.port()
        ))
    }

    fn text(&self, program: &Path, config: &Config) -> String {
        let unicast = match (self.source, self.peer) {
            (Some(source), Some(peer)) => format!(
                "    unicast_src_ip {source}\n    unicast_peer {{\n        {peer}\n    }}\n"
            ),
            _ => String::new(),
        };
        let family = if self.address.contains(':') { "    native_ipv6\n" } else { "" };
        let (question, user) = (self.question(program, config), &self.user);
        let (interface, router, address) = (&self.interface, self.router, &self.address);
        format!(
            "# Written by `mainstay keepalived config`; the same on both hosts but for addresses.\n\
             global_defs {{\n    vrrp_version 3\n    vrrp_priority -20\n    enable_script_security\n\
             \x20   script_user {user}\n}}\n\n\
             # Gone or standing still: the address goes, whatever the other one says.\n\
             vrrp_script mainstay_lives {{\n    script \"{question} lives\"\n    interval 1\n\
             \x20   timeout 1\n    fall 2\n    rise 2\n}}\n\n\
             # Serving is worth more than not serving; if neither serves, the address stays.\n\
             vrrp_script mainstay_serves {{\n    script \"{question} serves\"\n    interval 1\n\
             \x20   timeout 1\n    fall 2\n    rise 2\n    weight 50\n}}\n\n\
             # Equal priorities, so nobody takes the address back.\n\
             vrrp_instance mainstay {{\n    state BACKUP\n    interface {interface}\n{family}\
             \x20   virtual_router_id {router}\n    priority 100\n    advert_int 0.5\n\
             \x20   garp_master_refresh 10\n{unicast}\
             \x20   virtual_ipaddress {{\n        {address}\n    }}\n\
             \x20   track_script {{\n        mainstay_lives\n        mainstay_serves\n    }}\n}}\n"
        )
    }

    /// The command line without its last word. The admin address is written out, so that nothing
    /// is read from disk each second.
    fn question(&self, program: &Path, config: &Config) -> String {
        let program = quoted(program.to_path_buf());
        format!("{program} keepalived check --admin {}", config.admin)
    }
}

/// keepalived splits a script at spaces that are not escaped.
fn quoted(path: PathBuf) -> String {
    path.display().to_string().replace(' ', "\\ ")
}

/// The address of `ADDR/LEN`.
fn address(text: &str) -> Result<IpAddr, String> {
    let wrong =
        || format!("--address: `{text}` is no address with its length; write 192.168.122.10/24");
    let (address, length) = text.split_once('/').ok_or_else(wrong)?;
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    let length: u8 = length.parse().map_err(|_| wrong())?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    if length == 0 || length > most || address.is_unspecified() || address.is_multicast() {
        return Err(wrong());
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_addresses_with_their_length() {
        assert_eq!(address("10.0.0.10/24"), Ok(IpAddr::from([10, 0, 0, 10])));
        assert!(address("fd00::10/64").is_ok());
        for wrong in
            ["10.0.0.10", "10.0.0.10/33", "10.0.0.10/0", "x/24", "0.0.0.0/8", "224.0.0.1/4"]
        {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }
}
