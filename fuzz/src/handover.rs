//! What one process says to the next one.

use std::fs::File;
use std::os::fd::OwnedFd;

use common::events::Journal;
use lb::clock::Millis;
use lb::handover::Estate;
use lb::health::{DrainedBy, Outcome};

use channel::Message;
use frame::{Frame, arrivals, decoded, encoded};

#[allow(dead_code, reason = "the program's own module, of which a part is called here")]
#[path = "../../src/serve/handover/channel.rs"]
mod channel;

#[allow(dead_code, reason = "the program's own module, of which a part is called here")]
#[path = "../../src/serve/handover/frame.rs"]
mod frame;

/// Most descriptors that are made for one input.
const DESCRIPTORS_MAX: usize = 64;

/// A message as the other process may send it: length, JSON, bytes. What is read is written as the
/// same, and everybody gets what is theirs or nobody anything.
pub(crate) fn frames(input: &[u8]) {
    let message = Message { bytes: input.to_vec(), descriptors: Vec::new() };
    let Ok((frame, _, held)) = decoded(message) else { return };
    let bytes = encoded(&frame, &[&held]).unwrap();
    let again = decoded(Message { bytes, descriptors: Vec::new() }).unwrap();
    assert_eq!((&again.0, &again.2), (&frame, &held));
    match frame {
        Frame::Sessions { sessions } => {
            let wanted = sessions.iter().map(|session| session.descriptors()).sum();
            if wanted > DESCRIPTORS_MAX {
                return;
            }
            let descriptor = || OwnedFd::from(File::open("/dev/null").unwrap());
            let descriptors = std::iter::repeat_with(descriptor).take(wanted).collect();
            let count = sessions.len();
            if let Some(arrivals) = arrivals(sessions, descriptors, &held) {
                assert_eq!(arrivals.len(), count);
                let shared_out: usize = arrivals.iter().map(|arrival| arrival.bytes.len()).sum();
                assert_eq!(shared_out, held.len());
            }
        }
        Frame::Estate { estate, program, .. } => {
            go_on_with(*estate);
            let journal = Journal::new();
            journal.go_on(program.journal);
        }
        Frame::Bye { later, .. } => go_on_with(*later),
        _ => {}
    }
}

/// The parts of the estate that think go on thinking.
fn go_on_with(estate: Estate) {
    for ward in &estate.wards {
        for now in [Millis(0), ward.judge.since(), Millis(u64::MAX)] {
            for outcome in Outcome::ALL {
                let mut judge = ward.judge.clone();
                judge.observe(outcome, now, false);
                judge.drain(DrainedBy::Operator, true, now);
            }
        }
    }
    assert_eq!(estate.descriptors(), estate.clone().since(&estate).descriptors());
}
