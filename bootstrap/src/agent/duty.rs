//! What an agent owes a coordinator now. Pure.

use crate::identity::KnownCoordinator;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Seat;

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
