//! Tests of the journal.

use super::*;
use proptest::prelude::*;

fn journal(entries: usize) -> Journal {
    let journal = Journal::new();
    for number in 1..=entries {
        journal.note(EventKind::Reloaded, number.to_string());
    }
    journal
}

fn read_all(follower: &mut Follower) -> Vec<u64> {
    std::iter::from_fn(|| follower.try_next()).map(|event| event.unwrap().id).collect()
}

#[test]
fn every_kind_has_a_label_of_its_own() {
    let mut labels: Vec<&str> = EventKind::ALL.iter().map(|kind| kind.label()).collect();
    labels.sort_unstable();
    labels.dedup();
    assert_eq!(labels.len(), EventKind::ALL.len());
}

#[test]
fn the_newest_are_kept() {
    let journal = journal(EVENTS_MAX + 10);
    let kept = journal.kept();
    assert_eq!(kept.len(), EVENTS_MAX);
    assert_eq!((kept[0].id, kept[0].text.as_str()), (11, "11"));
    let counted: u64 = journal.counts().map(|(_, count)| count).sum();
    assert_eq!(counted, EVENTS_MAX as u64 + 10);
}

#[test]
fn a_reader_begins_where_it_says() {
    let journal = journal(5);
    assert_eq!(read_all(&mut journal.follow_after(0)), [1, 2, 3, 4, 5]);
    assert_eq!(read_all(&mut journal.follow_after(3)), [4, 5]);
    assert_eq!(read_all(&mut journal.follow_after(99)), [0_u64; 0]);
    let mark = journal.mark(&journal.kept()[3]);
    assert_eq!(read_all(&mut journal.follow_from(&mark)), [5]);
    for stranger in ["", "5", "1-4", "x-y", "99999999999999999999999-1"] {
        assert_eq!(read_all(&mut journal.follow_from(stranger)).len(), 5, "{stranger}");
    }
}

#[test]
fn a_slow_reader_is_told_and_counted() {
    let journal = journal(1);
    let mut slow = journal.follow_after(0);
    for _ in 0..EVENTS_MAX + 2 {
        journal.note(EventKind::Reloaded, "");
    }
    assert_eq!(slow.try_next(), Some(Err(Lost(3))));
    assert_eq!(journal.followers_lost(), 1);
    let mut fresh = journal.follow_after(0);
    assert_eq!(read_all(&mut fresh).len(), EVENTS_MAX);
}

#[tokio::test]
async fn a_reader_waits_for_the_next() {
    let journal = Journal::new();
    let mut follower = journal.follow_after(0);
    let note = async {
        tokio::task::yield_now().await;
        journal.note_about(EventKind::BackendUp, "master-0", "PENDING to UP");
    };
    let (event, ()) = tokio::join!(follower.next(), note);
    let event = event.unwrap();
    assert_eq!((event.id, event.about.as_deref()), (1, Some("master-0")));
}

#[test]
fn nothing_steers_a_terminal() {
    let journal = Journal::new();
    journal.note_about(EventKind::TicketRefused, "a\u{1b}[2J\r\n", "b\u{202e}c\u{7}");
    let event = &journal.kept()[0];
    assert_eq!(event.about.as_deref(), Some("a\u{fffd}[2J\u{fffd}\u{fffd}"));
    assert_eq!(event.text, "b\u{fffd}c\u{fffd}");
}

#[test]
fn long_text_is_cut_at_a_character() {
    let journal = Journal::new();
    journal.note_about(EventKind::MemberRefused, &"ä".repeat(1000), "€".repeat(1000));
    let event = &journal.kept()[0];
    assert!(event.text.len() <= TEXT_BYTES_MAX && event.text.ends_with("€…"), "{}", event.text);
    assert!(event.about.as_ref().unwrap().len() <= ABOUT_BYTES_MAX);
}

proptest! {
    /// However notes and reads are mixed, a reader sees every entry once and in order, until it is lost.
    #[test]
    fn a_reader_misses_nothing(steps in prop::collection::vec((0_u16..400, 0_usize..400), 1..20)) {
        let journal = Journal::new();
        let mut follower = journal.follow_after(0);
        let mut seen = 0;
        'steps: for (notes, reads) in steps {
            for _ in 0..notes {
                journal.note(EventKind::Reloaded, "");
            }
            for _ in 0..reads {
                match follower.try_next() {
                    Some(Ok(event)) => {
                        seen += 1;
                        prop_assert_eq!(event.id, seen);
                    }
                    Some(Err(Lost(_))) => break 'steps,
                    None => break,
                }
            }
        }
    }
}

#[test]
fn another_process_goes_on_with_it() {
    let (old, new) = (Journal::new(), Journal::new());
    (0..EVENTS_MAX + 5).for_each(|n| old.note(EventKind::Reloaded, format!("{n}")));
    new.note(EventKind::Started, "starts");
    let record = old.record();
    let mark = old.mark(record.events.last().unwrap());
    let text = serde_json::to_string(&record).unwrap();
    new.go_on(serde_json::from_str(&text).unwrap());

    let kept = new.kept();
    assert_eq!(kept.len(), EVENTS_MAX);
    let newest = kept.last().unwrap();
    assert_eq!((newest.id, newest.kind), (EVENTS_MAX as u64 + 6, EventKind::Started));
    assert!(kept.windows(2).all(|pair| pair[1].id == pair[0].id + 1), "no gap");
    let count = |kind| new.counts().find(|(k, _)| *k == kind).unwrap().1;
    assert_eq!((count(EventKind::Reloaded), count(EventKind::Started)), (EVENTS_MAX as u64 + 5, 1));
    let mut reader = new.follow_from(&mark);
    assert_eq!(reader.try_next().unwrap().unwrap().text, "starts", "a reader goes on where it was");
}
