//! The ports of the configuration: those of clients, and that nobody else of ours wants one of them.

use std::net::SocketAddr;

use super::ConfigError;
use super::address::{AdminAddr, ListenAddr};
use super::checked::{Raw, first_repeated};
use super::join::Join;

/// Most addresses to listen on; each costs one socket for each worker.
const LISTEN_MAX: usize = 16;

impl Raw<'_> {
    pub(super) fn listen(&self) -> Result<Vec<ListenAddr>, ConfigError> {
        let key = "listen";
        let listen = self.parsed_list(key, ListenAddr::parse)?;
        if listen.is_empty() || listen.len() > LISTEN_MAX {
            let reason = format!("needs 1 to {LISTEN_MAX} addresses, has {}", listen.len());
            return Err(self.wrong(key, reason));
        }
        let fixed = listen.iter().filter(|addr| addr.0.port() != 0);
        if let Some(twice) = first_repeated(fixed) {
            return Err(self.wrong(key, format!("`{twice}` stands there twice")));
        }
        for (at, addr) in listen.iter().enumerate() {
            if let Some(other) = listen.iter().skip(at + 1).find(|other| addr.overlaps(other.0)) {
                let reason =
                    format!("`{addr}` and `{other}` are one port; name the wider one alone");
                return Err(self.wrong(key, reason));
            }
        }
        Ok(listen)
    }

    /// The admin endpoint and the join port, where the operator chose that, have ports of their own.
    pub(super) fn keep_apart(
        &self,
        listen: &[ListenAddr],
        admin: &AdminAddr,
        join: &Join,
    ) -> Result<(), ConfigError> {
        let admin = match admin {
            AdminAddr::Tcp(addr) => Some(*addr),
            AdminAddr::Unix(_) => None,
        };
        let join = join.listen.filter(|_| join.listen_chosen);
        self.not_for_clients(listen, "admin", admin)?;
        self.not_for_clients(listen, "join.listen", join)?;
        match (admin, join) {
            (Some(admin), Some(join)) if ListenAddr(admin).overlaps(join) => {
                Err(self.wrong("join.listen", format!("`{join}` is the port of `admin` already")))
            }
            _ => Ok(()),
        }
    }

    fn not_for_clients(
        &self,
        listen: &[ListenAddr],
        key: &'static str,
        port: Option<SocketAddr>,
    ) -> Result<(), ConfigError> {
        let taken = port.and_then(|port| {
            listen.iter().find(|addr| addr.overlaps(port)).map(|addr| (port, addr))
        });
        match taken {
            Some((port, addr)) => {
                let reason = format!("`{port}` is the port of clients already (listen `{addr}`)");
                Err(self.wrong(key, reason))
            }
            None => Ok(()),
        }
    }
}
