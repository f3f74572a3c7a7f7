//! What is known of the cluster: its CA, and how the coordinator may look at it.
//!
//! The first master that names a CA sets it, unless the operator gave one; from then on whoever
//! speaks of another cluster is refused. A bundle that holds a known CA and a new one takes its place:
//! so a CA is replaced, the new one beside the old one first.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::refusal::Refused;
use crate::kubeadm::CaPin;

/// What is known of the cluster, as it is kept on disk.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterRecord {
    /// CA certificates, PEM.
    ca: Option<String>,
    /// The coordinator's own kubeconfig.
    kubeconfig: Option<Zeroizing<String>>,
    /// Pins that the operator gave; not kept on disk, the configuration has them.
    #[serde(skip)]
    pinned: Vec<CaPin>,
}

impl fmt::Debug for ClusterRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has_kubeconfig = self.kubeconfig.is_some();
        f.debug_struct("ClusterRecord")
            .field("pins", &self.pins())
            .field("has_kubeconfig", &has_kubeconfig)
            .finish()
    }
}

impl ClusterRecord {
    /// Only clusters of the operator's choice from now on; none: of any, until one is known.
    pub fn pin(&mut self, pins: Vec<CaPin>) {
        self.pinned = pins;
    }

    /// The CA certificates, PEM.
    #[must_use]
    pub fn ca(&self) -> Option<&str> {
        self.ca.as_deref()
    }

    /// The kubeconfig.
    #[must_use]
    pub fn kubeconfig(&self) -> Option<&Zeroizing<String>> {
        self.kubeconfig.as_ref()
    }

    /// The pins that a CA must match one of; empty if any will do.
    #[must_use]
    pub fn pins(&self) -> Vec<CaPin> {
        if !self.pinned.is_empty() {
            return self.pinned.clone();
        }
        self.learnt()
    }

    /// The pins of the CA that is known, if one is.
    fn learnt(&self) -> Vec<CaPin> {
        // It was read when it was learnt.
        self.ca.as_ref().and_then(|pem| CaPin::of_bundle(pem.as_bytes()).ok()).unwrap_or_default()
    }

    /// Whether somebody who names these CAs speaks of our cluster. Who names none may be a machine
    /// that is no master yet.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn agrees(&self, cas: &[CaPin]) -> Result<(), Refused> {
        let ours = self.pins();
        if cas.is_empty() || ours.is_empty() || CaPin::any_matches(cas, &ours) {
            return Ok(());
        }
        let list =
            |pins: &[CaPin]| pins.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        Err(Refused::forbidden(format!(
            "the machine belongs to another cluster: its CA is {}, this cluster's is {}",
            list(cas),
            list(&ours)
        )))
    }

    /// As [`ClusterRecord::learn`], from the only master that there is: another CA takes the place of
    /// the one that was learnt, but not of one that the operator gave.
    ///
    /// # Errors
    /// [`Refused`] if it is no CA, or not the operator's; nothing is changed then.
    pub fn learn_anew(
        &mut self,
        ca: &str,
        kubeconfig: Option<Zeroizing<String>>,
    ) -> Result<Option<String>, Refused> {
        let mut anew = Self { pinned: self.pinned.clone(), ..Self::default() };
        let learnt = anew.learn(Some(ca), kubeconfig)?;
        if self.ca.as_deref() == Some(ca) {
            // The same cluster: what else is known of it stays.
            self.kubeconfig = anew.kubeconfig.or(self.kubeconfig.take());
            return Ok(None);
        }
        *self = anew;
        Ok(learnt)
    }

    /// Takes over what a member says. The pins, if one of them was not known before. A bundle without a
    /// new CA changes nothing: a master that is behind must not take a new one back.
    ///
    /// # Errors
    /// [`Refused`] if it is no CA, or another cluster's.
    pub fn learn(
        &mut self,
        ca: Option<&str>,
        kubeconfig: Option<Zeroizing<String>>,
    ) -> Result<Option<String>, Refused> {
        let mut learnt = None;
        if let Some(pem) = ca {
            let pins = CaPin::of_bundle(pem.as_bytes())
                .map_err(|error| Refused::malformed(format!("the cluster's CA: {error}")))?;
            self.agrees(&pins)?;
            if CaPin::any_new(&pins, &self.learnt()) {
                let text: Vec<_> = pins.iter().map(ToString::to_string).collect();
                learnt = Some(text.join(", "));
                self.ca = Some(pem.to_owned());
            }
        }
        if kubeconfig.is_some() {
            self.kubeconfig = kubeconfig;
        }
        Ok(learnt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EC: &str = include_str!("../../../tests/fixtures/vectors/ca-ec.crt");
    const RSA: &str = include_str!("../../../tests/fixtures/vectors/ca-rsa.crt");

    #[test]
    fn the_first_word_counts() {
        let mut cluster = ClusterRecord::default();
        assert!(cluster.learn(None, None).unwrap().is_none());
        assert!(cluster.learn(Some(EC), None).unwrap().unwrap().starts_with("sha256:c2095117"));
        assert!(cluster.learn(Some(EC), None).unwrap().is_none(), "again");
        let said = cluster.learn(Some(RSA), None).unwrap_err().to_string();
        assert!(said.contains("another cluster"), "{said}");
        assert_eq!(cluster.ca(), Some(EC));
    }

    #[test]
    fn a_new_ca_comes_beside_a_known_one() {
        let mut cluster = ClusterRecord::default();
        cluster.learn(Some(EC), None).unwrap();
        let both = format!("{RSA}{EC}");
        let learnt = cluster.learn(Some(&both), None).unwrap().unwrap();
        assert!(learnt.contains("c2095117") && cluster.ca() == Some(both.as_str()), "{learnt}");
        assert!(cluster.learn(Some(EC), None).unwrap().is_none(), "of a master that is behind");
        assert!(cluster.learn(Some(RSA), None).unwrap().is_none(), "of one that is done");
        assert_eq!((cluster.ca(), cluster.pins().len()), (Some(both.as_str()), 2));
        cluster.pin(CaPin::of_bundle(RSA.as_bytes()).unwrap());
        assert!(cluster.learn(Some(EC), None).is_err(), "the operator has the last word");
    }

    #[test]
    fn a_master_that_is_alone_may_begin_anew() {
        let mut cluster = ClusterRecord::default();
        let kubeconfig = || Some(Zeroizing::new("kubeconfig".to_owned()));
        cluster.learn_anew(EC, kubeconfig()).unwrap().unwrap();
        assert!(cluster.learn_anew(EC, None).unwrap().is_none());
        assert!(cluster.kubeconfig().is_some(), "the same cluster");
        assert!(cluster.learn_anew("no PEM", None).is_err() && cluster.ca() == Some(EC));
        cluster.learn_anew(RSA, None).unwrap().unwrap();
        assert!(cluster.ca() == Some(RSA) && cluster.kubeconfig().is_none());
        cluster.pin(CaPin::of_bundle(RSA.as_bytes()).unwrap());
        assert!(cluster.learn_anew(EC, None).is_err() && cluster.ca() == Some(RSA));
    }

    #[test]
    fn the_operator_has_the_last_word() {
        let mut cluster = ClusterRecord::default();
        cluster.pin(CaPin::of_bundle(RSA.as_bytes()).unwrap());
        assert!(cluster.learn(Some(EC), None).is_err());
        assert!(cluster.learn(Some(RSA), None).is_ok());
        assert!(cluster.learn(Some("no PEM"), None).is_err());
    }

    #[test]
    fn shows_no_kubeconfig() {
        let mut cluster = ClusterRecord::default();
        cluster.learn(None, Some(Zeroizing::new("secret".into()))).unwrap();
        assert!(!format!("{cluster:?}").contains("secret"));
    }
}
