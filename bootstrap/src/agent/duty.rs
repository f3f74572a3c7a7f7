//! What an agent owes a coordinator now. Pure.

use crate::identity::KnownCoordinator;

/// The facts are told again after a day, with new credentials for the coordinator: they last for 30.
const TELL_SECONDS: u64 = 24 * 3600;

/// Wait until facts that could not be told whole are told again, doubled each time: an apiserver that
/// has just started answers in a minute or two.
const TELL_AGAIN_SECONDS: u64 = 120;

/// How often that is doubled: up to 17 hours, less than a day.
const TELL_AGAIN_DOUBLED_MAX: u32 = 9;

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Duty {
    /// Register, or register anew because the certificate has ended.
    Register,
    /// Renew the certificate, then say that we are there.
    Renew,
    /// Say that we are there.
    Attend,
}

/// The duty at `now`, seconds since 1970. `unknown`: the coordinator said that it does not know us.
pub(super) fn duty(known: &KnownCoordinator, now: u64, unknown: bool) -> Duty {
    match &known.seat {
        Some(seat) if !unknown && known.is_registered(now) => {
            if now >= seat.renew_at {
                Duty::Renew
            } else {
                Duty::Attend
            }
        }
        _ => Duty::Register,
    }
}

/// What a coordinator was told of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// When, in seconds since 1970; 0: never.
    at: u64,
    /// The CA at that time.
    ca: Option<String>,
    /// How often in a row something was missing.
    failures: u32,
}

impl Told {
    /// Whether the facts are to be told at `now`, when this is the CA.
    pub(super) fn is_due(&self, now: u64, ca: Option<&str>) -> bool {
        let again = match self.failures {
            0 => TELL_SECONDS,
            failures => TELL_AGAIN_SECONDS << (failures - 1).min(TELL_AGAIN_DOUBLED_MAX),
        };
        let other = ca.is_some() && ca != self.ca.as_deref();
        self.at == 0 || other || now >= self.at.saturating_add(again)
    }

    /// They were told at `now`; `whole` if nothing of them may be had later.
    pub(super) fn after(self, now: u64, ca: Option<String>, whole: bool) -> Self {
        let failures = if whole { 0 } else { self.failures.saturating_add(1) };
        Self { at: now, ca, failures }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Seat;

    #[test]
    fn facts_are_told_daily_when_the_ca_changes_and_after_a_failure() {
        let ca = |text: &str| Some(text.to_owned());
        let mut told = Told::default();
        assert!(told.is_due(1, None) && told.is_due(1, Some("a")));
        told = told.after(1_000, ca("a"), true);
        assert!(!told.is_due(1_001, Some("a")) && !told.is_due(1_000 + TELL_SECONDS - 1, None));
        assert!(told.is_due(1_000 + TELL_SECONDS, Some("a")));
        assert!(told.is_due(1_001, Some("ab")), "another CA");
        let mut waits = Vec::new();
        for _ in 0..12 {
            told = told.after(1_000, ca("a"), false);
            waits.push((1..).find(|wait| told.is_due(1_000 + wait, Some("a"))).unwrap());
        }
        assert_eq!(waits[..4], [120, 240, 480, 960]);
        assert_eq!(waits[10..], [TELL_AGAIN_SECONDS << 9; 2]);
        assert!(!told.after(1_000, None, true).is_due(2_000, None), "whole at last");
    }
    #[test]
    fn each_moment_has_its_duty() {
        let address = "10.0.0.1".parse().unwrap();
        let (pins, anew) = (Vec::new(), Vec::new());
        let mut known = KnownCoordinator { address, pins, seat: None, anew };
        assert_eq!(duty(&known, 0, false), Duty::Register);
        known.seat = Some(Seat {
            ca: String::new(),
            certificate: String::new(),
            renew_at: 100,
            ends_at: 200,
            apiserver: "10.0.0.11:6443".parse().unwrap(),
            endpoint: String::new(),
            intent: None,
        });
        for (now, unknown, expected) in [
            (0, false, Duty::Attend),
            (99, false, Duty::Attend),
            (100, false, Duty::Renew),
            (199, false, Duty::Renew),
            (200, false, Duty::Register),
            (0, true, Duty::Register),
        ] {
            assert_eq!(duty(&known, now, unknown), expected, "{now} {unknown}");
        }
    }
}
