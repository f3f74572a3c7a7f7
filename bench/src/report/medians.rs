//! The medians of a run as data, each with the ratio to the best peer.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    peer::Peer,
    results::{Figure, Results},
    stats::{self, Spread},
};

/// What one peer reached in one scenario.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    scenario: String,
    peer: Peer,
    /// Why figures are missing.
    fault: Option<String>,
    figures: BTreeMap<Figure, Compared>,
}

/// A figure over all rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Compared {
    /// Median, smallest and largest.
    #[serde(flatten)]
    pub(super) spread: Spread,
    /// The median divided by that of the best peer.
    pub(super) to_best_peer: Option<f64>,
}

/// A row for every scenario and every peer, also for those that are missing.
pub(super) fn of(results: &Results) -> Vec<Row> {
    let mut rows = Vec::new();
    for scenario in &results.scenarios {
        for record in &results.peers {
            let peer = record.peer;
            let compared = |figure| Some((figure, compared(results, scenario, peer, figure)?));
            let fault = record.missing.as_deref().or_else(|| results.fault(scenario, peer));
            rows.push(Row {
                scenario: scenario.clone(),
                peer,
                fault: fault.map(str::to_owned),
                figures: Figure::ALL.into_iter().filter_map(compared).collect(),
            });
        }
    }
    rows
}

/// One figure, and how it compares to the best of the peers.
pub(super) fn compared(
    results: &Results,
    scenario: &str,
    peer: Peer,
    figure: Figure,
) -> Option<Compared> {
    let spread = results.spread(scenario, peer, figure)?;
    let rivals = results.peers.iter().map(|record| record.peer).filter(|peer| peer.is_rival());
    let medians = rivals.filter_map(|rival| Some(results.spread(scenario, rival, figure)?.median));
    let best = stats::best(medians, figure.more_is_better()).filter(|best| *best > 0.0);
    Some(Compared { spread, to_best_peer: best.map(|best| spread.median / best) })
}
