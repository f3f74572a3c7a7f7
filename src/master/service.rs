//! The agent's unit, where systemd runs; nothing else depends on systemd.

use std::path::Path;
use std::process::{Command, Stdio};

use super::progress::Progress;

/// The unit.
const UNIT: &str = "mainstay-agent.service";

/// Where the unit keeps its identity; another directory needs another unit.
pub(crate) const STATE_DIR: &str = "/var/lib/mainstay-agent";

/// There if systemd runs (sd_booted(3)).
const BOOTED: &str = "/run/systemd/system";

/// How the agent can be started here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// By its unit.
    Unit,
    /// By hand: no systemd, or an identity that the unit would not find.
    ByHand,
}

fn way(booted: bool, state_dir: &Path) -> Way {
    if booted && state_dir == Path::new(STATE_DIR) { Way::Unit } else { Way::ByHand }
}

/// Starts the agent, or says how.
pub(crate) fn start_agent(state_dir: &Path, progress: &mut Progress) {
    if way(Path::new(BOOTED).exists(), state_dir) == Way::Unit {
        match systemctl(&["enable", "--now", UNIT]) {
            Ok(()) => return progress.says("The agent runs (mainstay-agent.service)."),
            Err(reason) => progress.says(&format!("The agent's unit does not start: {reason}")),
        }
    }
    progress.says(&format!("Start the agent now, and at each boot: {}", by_hand(state_dir)));
}

/// Stops the agent's unit for good, if it is one.
pub(crate) fn stop_agent(state_dir: &Path, progress: &mut Progress) {
    if way(Path::new(BOOTED).exists(), state_dir) == Way::Unit
        && let Err(reason) = systemctl(&["disable", "--now", UNIT])
    {
        progress.says(&format!("The agent's unit cannot be stopped: {reason}"));
    }
}

/// Whether the machine, and not only the agent, is going down.
pub(crate) fn machine_stops() -> bool {
    let asked = Command::new("systemctl").arg("is-system-running").stderr(Stdio::null()).output();
    asked.is_ok_and(|answer| String::from_utf8_lossy(&answer.stdout).trim() == "stopping")
}

fn by_hand(state_dir: &Path) -> String {
    if state_dir == Path::new(STATE_DIR) {
        "mainstay agent".to_owned()
    } else {
        format!("mainstay agent --state-dir {}", state_dir.display())
    }
}

fn systemctl(arguments: &[&str]) -> Result<(), String> {
    let command = Command::new("systemctl").args(arguments).stdin(Stdio::null()).output();
    let answer = command.map_err(|error| error.to_string())?;
    if answer.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&answer.stderr).trim().replace('\n', "; ");
    Err(format!("`systemctl {}` failed: {said}", arguments.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_is_for_its_own_directory_only() {
        let usual = Path::new(STATE_DIR);
        assert_eq!(way(true, usual), Way::Unit);
        assert_eq!(way(false, usual), Way::ByHand);
        assert_eq!(way(true, Path::new("/tmp/a")), Way::ByHand);
        assert_eq!(by_hand(usual), "mainstay agent");
        assert_eq!(by_hand(Path::new("/tmp/a")), "mainstay agent --state-dir /tmp/a");
    }

    /// The unit runs the agent with the directory that it is meant for.
    #[test]
    fn the_unit_fits() {
        let unit = include_str!("../../deploy/mainstay-agent.service");
        assert!(unit.contains("\nExecStart=/usr/bin/mainstay agent\n"));
        assert!(unit.contains("\nStateDirectory=mainstay-agent\n"));
    }
}
