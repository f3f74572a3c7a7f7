//! `mainstay ticket create`.

use std::io::Write;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use bootstrap::kubeadm::CaPin;
use bootstrap::ticket::{JoinTicket, JoinToken};
use clap::Args;
use common::duration;

use crate::admin::client;
use crate::admin::coordinator::{NewTicket, TICKETS, TicketWish};
use crate::cli::input;
use crate::cli::running::{Output, RunningOptions};
use crate::exit::Stop;

/// How long a ticket lasts: kubeadm's own tokens last a day too.
const TTL: &str = "24h";

/// Make a ticket and print the command for a new master.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  mainstay ticket create\n  mainstay ticket create --ttl 1h --uses 2 \
--description 'masters 1 and 2'\n  mainstay ticket create --address lb.example.com:6445\n\n\
For two balancers, make the same ticket at both and give masters both addresses and pins:\n  \
mainstay ticket create --token-file token.txt"
)]
pub(super) struct Create {
    /// Address by which masters reach this coordinator, HOST or HOST:PORT; repeat for several
    /// [default: the address of this host that leads out].
    #[arg(long, value_name = "HOST:PORT")]
    address: Vec<String>,

    /// How long it is good for, like 1h; 0 is for ever.
    #[arg(long, value_name = "TIME", default_value = TTL)]
    ttl: String,

    /// How many masters may register with it [default: any number].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    uses: Option<u32>,

    /// What it is for.
    #[arg(long, value_name = "TEXT", default_value = "")]
    description: String,

    /// Use the token in this file (`-`: the standard input) instead of a new one.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,

    /// Print the ticket as a table of words for people, or as JSON for machines.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,

    #[command(flatten)]
    running: RunningOptions,
}

impl Create {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let ttl = match self.ttl.as_str() {
            "0" => Duration::ZERO,
            text => {
                duration::parse(text).map_err(|error| Stop::usage(format!("--ttl: {error}")))?
            }
        };
        let token = match &self.token_file {
            Some(file) => Some(input::secret_text(file)?.trim().to_owned().into()),
            None => None,
        };
        let wish = TicketWish {
            token,
            ttl_seconds: (ttl > Duration::ZERO).then_some(ttl.as_secs().max(1)),
            uses: self.uses,
            description: self.description.clone(),
        };
        let admin = self.running.admin()?;
        let secret = self.running.token(&admin)?;
        let body = zeroize::Zeroizing::new(serde_json::to_vec(&wish)?);
        let made = client::ask(&admin, hyper::Method::POST, TICKETS, secret.as_ref(), &body)?;
        let made: NewTicket = serde_json::from_slice(&zeroize::Zeroizing::new(made))?;
        self.print(&made)
    }

    fn print(&self, made: &NewTicket) -> anyhow::Result<()> {
        let token: JoinToken = made.token.parse()?;
        let pin: CaPin = made.pin.parse()?;
        let addresses = self.addresses(made)?;
        let ticket = JoinTicket::new(&addresses, token, vec![pin]).map_err(Stop::usage)?;
        let arguments = ticket.to_arguments();
        let mut out = std::io::stdout();
        if self.output == Output::Json {
            let shown = serde_json::json!({
                "addresses": addresses,
                "token": *made.token,
                "ca_cert_hashes": [made.pin],
                "arguments": *arguments,
            });
            writeln!(out, "{shown:#}")?;
            return Ok(());
        }
        writeln!(out, "mainstay join {}", *arguments)?;
        writeln!(
            std::io::stderr(),
            "\nType this on a new master; on the first one `init` instead of `join`."
        )?;
        Ok(())
    }

    /// The given addresses, each with a port.
    fn addresses(&self, made: &NewTicket) -> anyhow::Result<Vec<String>> {
        if !self.address.is_empty() {
            let with_port = |text: &String| match text.parse::<IpAddr>() {
                Ok(IpAddr::V6(ip)) => format!("[{ip}]:{}", made.port),
                Ok(IpAddr::V4(ip)) => format!("{ip}:{}", made.port),
                Err(_) if text.rsplit_once(':').is_some() => text.clone(),
                Err(_) => format!("{text}:{}", made.port),
            };
            return Ok(self.address.iter().map(with_port).collect());
        }
        let listen: IpAddr = made.listen.parse()?;
        let ip = if listen.is_unspecified() { address_that_leads_out() } else { Some(listen) };
        let Some(ip) = ip else {
            let sentence = "this host has no address that leads out; name one that masters reach \
                            with --address";
            return Err(Stop::usage(sentence).into());
        };
        Ok(vec![std::net::SocketAddr::new(ip, made.port).to_string()])
    }
}

/// The address that this host would use to reach others. A connected UDP socket sends nothing; it
/// only asks the kernel for a route. The targets are addresses for documentation.
fn address_that_leads_out() -> Option<IpAddr> {
    let route = |from: &str, to: &str| {
        let socket = std::net::UdpSocket::bind(from).ok()?;
        socket.connect(to).ok()?;
        let ip = socket.local_addr().ok()?.ip();
        (!ip.is_unspecified() && !ip.is_loopback()).then_some(ip)
    };
    route("0.0.0.0:0", "192.0.2.1:9").or_else(|| route("[::]:0", "[2001:db8::1]:9"))
}
