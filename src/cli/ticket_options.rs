//! The ticket on a command line: coordinators, token, pins. The token may also come from a file,
//! the standard input or a prompt, because a command line is seen by everybody on the machine.

use std::io::{IsTerminal, Write};
use std::net::IpAddr;
use std::path::PathBuf;

use bootstrap::agent::Master;
use bootstrap::kubeadm::CaPin;
use bootstrap::ticket::{JoinTicket, JoinToken};
use clap::Args;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::input;
use crate::exit::Stop;
use crate::master::{KubeadmSettings, MasterSettings};

/// Longest line that is read at the prompt.
const LINE_BYTES: usize = 256;

/// A ticket, as `mainstay ticket create` prints it.
#[derive(Args)]
pub(super) struct TicketOptions {
    /// Coordinators of the ticket; port 6445 unless given. None: go on with the last ticket.
    #[arg(value_name = "HOST:PORT")]
    coordinators: Vec<String>,

    /// Token of the ticket [default: asked for].
    #[arg(long, value_name = "TOKEN", conflicts_with = "token_file")]
    token: Option<String>,

    /// Read the token from this file, or from the standard input (`-`).
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,

    /// Pin of a coordinator's CA; repeat for each.
    #[arg(long = "ca-cert-hash", value_name = "sha256:HEX")]
    pins: Vec<CaPin>,
}

impl std::fmt::Debug for TicketOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TicketOptions").field("coordinators", &self.coordinators).finish()
    }
}

impl TicketOptions {
    /// The ticket; none if no coordinator is given.
    pub(super) fn ticket(self) -> anyhow::Result<Option<JoinTicket>> {
        if self.coordinators.is_empty() {
            if self.token.is_some() || self.token_file.is_some() || !self.pins.is_empty() {
                let sentence = "a ticket begins with the address of a coordinator, HOST:PORT";
                return Err(Stop::usage(sentence).into());
            }
            return Ok(None);
        }
        if self.pins.is_empty() {
            return Err(Stop::usage(bootstrap::ticket::TicketError::NoPin).into());
        }
        let token = self.read_token()?;
        Ok(Some(JoinTicket::new(&self.coordinators, token, self.pins).map_err(Stop::usage)?))
    }

    fn read_token(&self) -> anyhow::Result<JoinToken> {
        let text = match (&self.token, &self.token_file) {
            (Some(text), _) => Zeroizing::new(text.clone()),
            (None, Some(file)) => input::secret_text(file)?,
            (None, None) if std::io::stdin().is_terminal() => prompt("Token of the ticket: ")?,
            (None, None) => {
                let sentence = "a ticket needs a token: give --token, or --token-file FILE (`-`: \
                                the standard input)";
                return Err(Stop::usage(sentence).into());
            }
        };
        Ok(text.trim().parse().map_err(|error| Stop::usage(format!("the token: {error}")))?)
    }
}

/// Asks for a secret at the terminal, which does not show it.
fn prompt(question: &str) -> anyhow::Result<Zeroizing<String>> {
    let stdin = std::io::stdin();
    let before = tcgetattr(&stdin)?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    write!(std::io::stderr(), "{question}")?;
    tcsetattr(&stdin, OptionalActions::Flush, &silent)?;
    let mut line = Zeroizing::new(String::with_capacity(LINE_BYTES));
    let read = std::io::BufRead::read_line(&mut stdin.lock(), &mut line);
    tcsetattr(&stdin, OptionalActions::Flush, &before)?;
    writeln!(std::io::stderr())?;
    read?;
    Ok(line)
}

/// Which master.
#[derive(Args, Debug)]
pub(super) struct MasterOptions {
    /// Name of the node [default: the machine's].
    #[arg(long, value_name = "NAME")]
    node_name: Option<String>,

    /// Address of this machine's apiserver [default: the one that reaches the coordinator].
    #[arg(long, value_name = "IP")]
    advertise_address: Option<IpAddr>,

    /// Port of this machine's apiserver.
    #[arg(long, value_name = "PORT", default_value_t = 6443, value_parser = clap::value_parser!(u16).range(1..))]
    apiserver_port: u16,

    #[command(flatten)]
    places: Places,
}

/// Where things are on a master.
#[derive(Args, Debug)]
pub(super) struct Places {
    /// Where the identity of this machine is kept.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/mainstay-agent")]
    pub(super) state_dir: PathBuf,

    /// Where kubeadm keeps its files.
    #[arg(long, value_name = "DIR", default_value = "/etc/kubernetes")]
    kubernetes_dir: PathBuf,
}

impl Places {
    /// kubeadm's files.
    pub(super) fn master(&self) -> Master {
        Master { kubernetes_dir: self.kubernetes_dir.clone() }
    }
}

impl MasterOptions {
    /// Checked; `force` is `--first`.
    pub(super) fn settings(
        self,
        ticket: TicketOptions,
        force: bool,
    ) -> anyhow::Result<MasterSettings> {
        let name = self.node_name.as_deref();
        if let Some(name) = name.filter(|name| !crate::master::is_node_name(name)) {
            return Err(Stop::usage(format!(
                "--node-name {name}: a node's name is lower-case letters, digits, `-` and `.`"
            ))
            .into());
        }
        Ok(MasterSettings {
            ticket: ticket.ticket()?,
            master: self.places.master(),
            state_dir: self.places.state_dir,
            node_name: self.node_name,
            advertise: self.advertise_address,
            port: self.apiserver_port,
            force,
        })
    }
}

/// How kubeadm is run.
#[derive(Args, Debug)]
pub(super) struct KubeadmOptions {
    /// The kubeadm to run.
    #[arg(long, value_name = "PATH", default_value = "kubeadm")]
    kubeadm: PathBuf,

    /// Run `kubeadm reset` first if an earlier run of ours failed or ended half-way.
    #[arg(long)]
    reset: bool,

    /// Print the plan and change nothing.
    #[arg(long)]
    dry_run: bool,

    /// Flags for kubeadm.
    #[arg(last = true, value_name = "KUBEADM FLAGS")]
    flags: Vec<String>,
}

impl KubeadmOptions {
    pub(super) fn settings(self) -> KubeadmSettings {
        let Self { kubeadm, reset, dry_run, flags } = self;
        KubeadmSettings { program: kubeadm, flags, dry_run, reset }
    }
}
