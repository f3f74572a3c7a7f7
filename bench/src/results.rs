//! What a run leaves behind: the raw figure of every cell, so that a report can be made anew and
//! nobody has to believe a median.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::BufReader,
    path::Path,
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::{peer::Peer, stats::Spread};

/// The name of the raw results inside the output directory.
const FILE_NAME: &str = "results.json";

/// One whole run.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Results {
    /// Where and how it was measured.
    pub(crate) environment: Environment,
    /// Every peer that was asked for, also those that are missing.
    pub(crate) peers: Vec<PeerRecord>,
    /// The names of the scenarios, in order.
    pub(crate) scenarios: Vec<String>,
    /// One entry a round, scenario and peer.
    pub(crate) cells: Vec<Cell>,
}

/// Where and how it was measured.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Environment {
    /// When it began.
    pub(crate) date: String,
    /// The processor's name.
    pub(crate) processor: String,
    /// Processors that may be used.
    pub(crate) cores: usize,
    /// The kernel's release.
    pub(crate) kernel: String,
    /// The command line.
    pub(crate) command: Vec<String>,
    /// Rounds asked for.
    pub(crate) rounds: usize,
    /// Length of a cell.
    pub(crate) seconds: f64,
}

/// A peer as it was found.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PeerRecord {
    /// Which one.
    pub(crate) peer: Peer,
    /// What it says of its version.
    pub(crate) version: Option<String>,
    /// Why it was not measured, and what to do about it.
    pub(crate) missing: Option<String>,
}

/// One measurement.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Cell {
    /// Counted from one.
    pub(crate) round: usize,
    /// The scenario's name.
    pub(crate) scenario: String,
    /// Who was measured.
    pub(crate) peer: Peer,
    /// Why there are no figures, or what went wrong beside them.
    pub(crate) fault: Option<String>,
    /// The figures.
    pub(crate) figures: BTreeMap<Figure, f64>,
}

/// What can be measured; the unit is in the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Figure {
    /// Requests, or connections where each makes one request.
    PerSecond,
    /// Payload of streams.
    GibPerSecond,
    /// Half of all latencies are below.
    P50Micros,
    /// All but a hundredth.
    P99Micros,
    /// All but a thousandth.
    P999Micros,
    /// Half of all calls with a connection of their own took less.
    CallP50Micros,
    /// All but a hundredth of them.
    CallP99Micros,
    /// The proxy's processor time for one request.
    CpuMicrosPerRequest,
    /// The proxy's processor time for one GiB.
    CpuSecondsPerGib,
    /// The proxy's processor time for one second.
    CpuCores,
    /// The proxy's context switches for one request.
    SwitchesPerRequest,
    /// The proxy's system calls for one request.
    SyscallsPerRequest,
    /// The proxy's system calls for one MiB.
    SyscallsPerMib,
    /// The proxy's resident memory at the end.
    ResidentBytes,
    /// What each session added to it.
    ResidentBytesPerSession,
    /// Descriptors each session added.
    DescriptorsPerSession,
    /// Requests, connections or streams that failed.
    Errors,
}

impl Figure {
    /// All of them.
    pub(crate) const ALL: [Self; 17] = [
        Self::PerSecond,
        Self::GibPerSecond,
        Self::P50Micros,
        Self::P99Micros,
        Self::P999Micros,
        Self::CallP50Micros,
        Self::CallP99Micros,
        Self::CpuMicrosPerRequest,
        Self::CpuSecondsPerGib,
        Self::CpuCores,
        Self::SwitchesPerRequest,
        Self::SyscallsPerRequest,
        Self::SyscallsPerMib,
        Self::ResidentBytes,
        Self::ResidentBytesPerSession,
        Self::DescriptorsPerSession,
        Self::Errors,
    ];

    /// True if the larger one wins.
    pub(crate) fn more_is_better(self) -> bool {
        matches!(self, Self::PerSecond | Self::GibPerSecond)
    }
}

impl Results {
    /// The spread of one figure over all rounds.
    pub(crate) fn spread(&self, scenario: &str, peer: Peer, figure: Figure) -> Option<Spread> {
        let values: Vec<f64> = self
            .cells
            .iter()
            .filter(|cell| cell.scenario == scenario && cell.peer == peer)
            .filter_map(|cell| cell.figures.get(&figure).copied())
            .collect();
        Spread::of(&values)
    }

    /// The first fault of a peer in a scenario.
    pub(crate) fn fault(&self, scenario: &str, peer: Peer) -> Option<&str> {
        self.cells
            .iter()
            .filter(|cell| cell.scenario == scenario && cell.peer == peer)
            .find_map(|cell| cell.fault.as_deref())
    }

    /// Writes the raw results into `dir`.
    pub(crate) fn save(&self, dir: &Path) -> Result<()> {
        let path = dir.join(FILE_NAME);
        fs::write(&path, serde_json::to_vec_pretty(self)?)
            .with_context(|| format!("writing {}", path.display()))
    }

    /// Reads the raw results of an earlier run.
    pub(crate) fn load(dir: &Path) -> Result<Self> {
        let path = dir.join(FILE_NAME);
        let file = File::open(&path).with_context(|| format!("opening {}", path.display()))?;
        serde_json::from_reader(BufReader::new(file))
            .with_context(|| format!("reading {}", path.display()))
    }
}
