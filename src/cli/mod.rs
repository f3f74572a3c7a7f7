//! The command line: one file for each subcommand.

mod agent;
mod api;
mod ca_hash;
mod certs;
mod check;
mod completions;
mod doctor;
#[cfg(test)]
mod documents;
mod drain;
mod events;
mod forget;
mod import;
mod init;
mod input;
mod join;
mod keepalived;
mod kubeadm_config;
mod leave;
mod man;
mod options;
mod rebalance;
mod register;
mod running;
mod serve;
mod status;
mod subnets;
mod ticket;
mod ticket_options;
mod token;
mod top;
mod upgrade;
mod why;

use std::ffi::OsString;

pub(crate) use input::warn;
pub(crate) use options::ConfigOptions;

use clap::{CommandFactory, Parser, Subcommand};

use crate::exit::{Exit, Stop};
use crate::telemetry::BUILD;

/// A least-connections load balancer for the kube-apiservers of a kubeadm cluster.
///
/// `mainstay serve` takes the place of the NGINX or HAProxy in front of your masters, `import` makes
/// its configuration of theirs, `check` and `doctor` look at what you have. `status`, `top`, `why`,
/// `events`, `drain`, `undrain`, `rebalance` and `upgrade` are about the one that runs, `keepalived`
/// about two of them, `ticket` and `forget` about the masters that register with it. `certs`, `token`, `ca-hash` and `kubeadm-config` do kubeadm's part of bringing
/// up further masters, on a master or wherever there is a kubeconfig. On the masters, `init` and
/// `join` make a control plane behind the balancer with one ticket; `register`, `leave` and `agent`
/// are for members.
///
/// Exit codes: 0 done, 1 failed, 64 wrong command line or configuration, 69 something needed is
/// not there (port taken, nobody answers), 75 the apiserver cannot be reached now, try again, 77
/// not permitted.
#[derive(Debug, Parser)]
#[command(name = "mainstay", version = BUILD, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Serve),
    Check(check::Check),
    Import(import::Import),
    Doctor(doctor::Doctor),
    Status(status::StatusCommand),
    Top(top::Top),
    Why(why::Why),
    Events(events::Events),
    Drain(drain::Drain),
    Undrain(drain::Undrain),
    Rebalance(rebalance::Rebalance),
    Upgrade(upgrade::UpgradeCommand),
    Keepalived(keepalived::Keepalived),
    Ticket(ticket::Ticket),
    Forget(forget::Forget),
    Init(init::Init),
    Join(join::Join),
    Register(register::Register),
    Leave(leave::LeaveCommand),
    Agent(agent::Agent),
    Certs(certs::Certs),
    Token(token::Token),
    CaHash(ca_hash::CaHash),
    KubeadmConfig(kubeadm_config::KubeadmConfig),
    Completions(completions::Completions),
    Man(man::Man),
}

/// Runs the subcommand of the process's arguments.
pub(crate) fn run() -> anyhow::Result<()> {
    run_with(std::env::args_os())
}

fn run_with(args: impl Iterator<Item = OsString>) -> anyhow::Result<()> {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(wanted) if !wanted.use_stderr() => return Ok(wanted.print()?),
        Err(wrong) => return Err(usage(&wrong)),
    };
    match cli.command {
        Command::Serve(serve) => serve.run(),
        Command::Check(check) => check.run(),
        Command::Import(import) => import.run(),
        Command::Doctor(doctor) => doctor.run(),
        Command::Status(status) => status.run(),
        Command::Ticket(ticket) => ticket.run(),
        Command::Forget(forget) => forget.run(),
        Command::Init(init) => init.run(),
        Command::Join(join) => join.run(),
        Command::Register(register) => register.run(),
        Command::Leave(leave) => leave.run(),
        Command::Agent(agent) => agent.run(),
        Command::Certs(certs) => certs.run(),
        Command::Token(token) => token.run(),
        Command::CaHash(ca_hash) => ca_hash.run(),
        Command::KubeadmConfig(config) => config.run(),
        Command::Completions(completions) => completions.run(Cli::command()),
        Command::Man(man) => man.run(Cli::command()),
        Command::Top(top) => top.run(),
        Command::Why(why) => why.run(),
        Command::Events(events) => events.run(),
        Command::Drain(drain) => drain.run(),
        Command::Undrain(undrain) => undrain.run(),
        Command::Rebalance(rebalance) => rebalance.run(),
        Command::Upgrade(upgrade) => upgrade.run(),
        Command::Keepalived(keepalived) => keepalived.run(),
    }
}

/// The path of a member at the admin endpoint. Names of members need no escaping; another one is
/// the name of none.
fn member_path(name: &str, verb: Option<&str>) -> anyhow::Result<String> {
    let fits =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':' | '[' | ']');
    if name.is_empty() || !name.chars().all(fits) {
        let sentence = format!("`{name}` is no name of a backend; `mainstay status` lists them");
        return Err(Stop::new(Exit::Usage, sentence).into());
    }
    // A URI takes brackets only escaped.
    let name = name.replace('[', "%5B").replace(']', "%5D");
    Ok(verb
        .map_or_else(|| format!("/v1/members/{name}"), |verb| format!("/v1/members/{name}/{verb}")))
}

/// clap's text without its `error: ` and the empty line at its end: ours prints the program's name.
fn usage(wrong: &clap::Error) -> anyhow::Error {
    let text = wrong.render().to_string();
    let sentence = match wrong.kind() {
        clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            format!("no command given\n\n{text}")
        }
        _ => text.strip_prefix("error: ").unwrap_or(&text).to_owned(),
    };
    Stop::new(Exit::Usage, sentence.trim_end()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_of_a_key_exists() {
        let serve = Cli::command().find_subcommand("serve").unwrap().clone();
        let flags: Vec<String> =
            serve.get_arguments().filter_map(|a| a.get_long()).map(|l| format!("--{l}")).collect();
        for key in common::config::keys::KEYS.iter().filter(|key| !key.flag.is_empty()) {
            assert!(flags.contains(&key.flag.to_owned()), "{} of {}", key.flag, key.name);
        }
    }

    /// docs/kubeadm.md names every command and flag of kubeadm's part, and help has an example.
    #[test]
    fn kubeadms_part_is_documented() {
        let docs = include_str!("../../docs/kubeadm.md");
        let cli = Cli::command();
        let mut seen = 0;
        for name in ["certs", "token", "ca-hash", "kubeadm-config"] {
            let top = cli.find_subcommand(name).unwrap();
            let verbs: Vec<_> = top.get_subcommands().collect();
            for command in if verbs.is_empty() { vec![top] } else { verbs } {
                let verb = command.get_name();
                let path = if verb == name { name.to_owned() } else { format!("{name} {verb}") };
                assert!(docs.contains(&format!("| `mainstay {path}` |")), "{path}");
                let help = command.get_after_help().map(ToString::to_string);
                let example = format!("mainstay {path}");
                assert!(help.is_some_and(|help| help.contains(&example)), "{path}");
                for flag in command.get_arguments().filter_map(|flag| flag.get_long()) {
                    assert!(docs.contains(&format!("--{flag}")), "{path} --{flag}");
                    seen += 1;
                }
            }
        }
        assert!(seen > 30, "{seen}");
    }
}
