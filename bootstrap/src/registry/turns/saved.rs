//! What of the turns is kept on disk, and how they go on after a restart: a joiner in the middle of
//! kubeadm keeps its turn and its credentials, and nothing that was made is forgotten.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::issuing::Issuing;
use super::{JoinTurns, SETTLE_MAX, Stage, TURN_MAX, Turn};
use crate::protocol::Made;

/// Something to take back, as it is kept on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// What.
    pub made: Made,
    /// Seconds since 1970 when it was made.
    pub since: u64,
}

/// What survives a restart of the coordinator: a joiner in the middle of kubeadm must not lose its
/// credentials, and none may be forgotten.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedTurns {
    /// The join that has its turn.
    pub current: Option<SavedTurn>,
    /// What is still to be taken back.
    pub revocations: Vec<Revocation>,
}

/// The join that has its turn, as it is kept on disk. The credentials are sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedTurn {
    joiner: String,
    sealing_key: String,
    pub(super) stage: SavedStage,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all = "snake_case")]
pub(super) enum SavedStage {
    Issuing,
    Ready { sealed: String, made: Made, by: String },
    Held,
    Settling { made: Option<Made> },
}

impl JoinTurns {
    /// Goes on where an earlier run ended, at the time 0 of this one. `seed` is random: it keeps the
    /// numbers of works apart from those of earlier runs, whose answers may still come.
    #[must_use]
    pub fn restored(saved: SavedTurns, seed: u64) -> Self {
        let mut turns = Self { revocations: saved.revocations, last_work: seed, ..Self::default() };
        if let Some(SavedTurn { joiner, sealing_key, stage }) = saved.current {
            let work = turns.next_work();
            let (stage, limit) = match stage {
                SavedStage::Issuing => {
                    (Stage::Issuing(Issuing::new(work, Duration::ZERO)), TURN_MAX)
                }
                SavedStage::Ready { sealed, made, by } => {
                    (Stage::Ready { sealed, made, by }, TURN_MAX)
                }
                SavedStage::Held => (Stage::Held, TURN_MAX),
                SavedStage::Settling { made } => (Stage::Settling { made }, SETTLE_MAX),
            };
            let heard = Duration::ZERO;
            let began = Duration::ZERO;
            turns.current =
                Some(Turn { joiner, sealing_key, stage, began, deadline: limit, heard });
        }
        turns
    }

    /// What must survive a restart.
    #[must_use]
    pub fn saved(&self) -> SavedTurns {
        let stage = |stage: &Stage| match stage {
            Stage::Issuing(_) => SavedStage::Issuing,
            Stage::Ready { sealed, made, by } => {
                SavedStage::Ready { sealed: sealed.clone(), made: made.clone(), by: by.clone() }
            }
            Stage::Held => SavedStage::Held,
            Stage::Settling { made } => SavedStage::Settling { made: made.clone() },
        };
        let current = self.current.as_ref().map(|turn| SavedTurn {
            joiner: turn.joiner.clone(),
            sealing_key: turn.sealing_key.clone(),
            stage: stage(&turn.stage),
        });
        SavedTurns { current, revocations: self.revocations.clone() }
    }
}
