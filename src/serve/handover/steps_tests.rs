//! Every state with every event, and what must hold whatever happens.

use super::*;
use proptest::prelude::*;

const GIVER_EVENTS: [GiverEvent; 10] = [
    GiverEvent::Hello,
    GiverEvent::Ready,
    GiverEvent::Holding,
    GiverEvent::Taken,
    GiverEvent::Unfit,
    GiverEvent::Stalled,
    GiverEvent::StopRequested,
    GiverEvent::TokenBack,
    GiverEvent::TokenGone,
    GiverEvent::NoneLeft,
];

const TAKER_EVENTS: [TakerEvent; 9] = [
    TakerEvent::Offer,
    TakerEvent::Estate,
    TakerEvent::Sessions,
    TakerEvent::All,
    TakerEvent::Token,
    TakerEvent::NoToken,
    TakerEvent::Bye,
    TakerEvent::Closed,
    TakerEvent::Unfit,
];

/// The outcome of each event of [`GIVER_EVENTS`] in its order.
fn giver_row(state: Giving) -> [(Giving, GiverAct); 10] {
    use GiverAct::*;
    use Giving::*;
    let kept = (Kept, GoOn);
    let ask = (Deciding, TakeBack);
    let stay = (state, Wait);
    let part = (Gone, Part);
    match state {
        Starting => [(Offered, Offer), kept, kept, kept, kept, kept, kept, kept, kept, kept],
        Offered => [kept, (Moving, Move), kept, kept, kept, kept, kept, kept, kept, kept],
        Moving => [kept, kept, (Deciding, Decide), kept, kept, kept, stay, kept, kept, kept],
        Deciding => [
            ask,
            ask,
            ask,
            (Following, LetGo),
            ask,
            ask,
            stay,
            (Kept, GoOn),
            (Kept, GoOnWithout),
            ask,
        ],
        Following => [stay, stay, stay, stay, part, part, part, stay, stay, part],
        Kept | Gone => [stay; 10],
    }
}

/// The outcome of each event of [`TAKER_EVENTS`] in its order.
fn taker_row(state: Taking) -> [(Taking, TakerAct); 9] {
    use TakerAct::*;
    use Taking::*;
    let no = (Ended, Refuse);
    let leave = (Ended, Leave);
    let stay = (state, Wait);
    let ask = (Holding, TryToken);
    match state {
        Opening => [(Waiting, Prepare), no, no, no, no, no, no, leave, no],
        Waiting => [no, (Receiving, Adopt), no, no, no, no, no, leave, no],
        Receiving => [no, no, (Receiving, Receive), (Holding, SayHolding), no, no, no, leave, no],
        Holding => [ask, ask, ask, ask, (Owner, Begin), leave, ask, ask, ask],
        Owner => [
            stay,
            stay,
            (Owner, ReceiveAndGoOn),
            stay,
            stay,
            stay,
            (Alone, AddLater),
            (Alone, Wait),
            (Alone, ReceiveAndGoOn),
        ],
        Alone => [stay; 9],
        Ended => [leave; 9],
    }
}

#[test]
fn every_state_and_event_of_the_old_process() {
    use Giving::*;
    for state in [Starting, Offered, Moving, Deciding, Following, Kept, Gone] {
        for (event, expected) in GIVER_EVENTS.into_iter().zip(giver_row(state)) {
            assert_eq!(state.after(event), expected, "{state:?} {event:?}");
        }
    }
}

#[test]
fn every_state_and_event_of_the_new_process() {
    use Taking::*;
    for state in [Opening, Waiting, Receiving, Holding, Owner, Alone, Ended] {
        for (event, expected) in TAKER_EVENTS.into_iter().zip(taker_row(state)) {
            assert_eq!(state.after(event), expected, "{state:?} {event:?}");
        }
    }
}

/// A step of a world with one token: what the processes hear is chance, but the token is one.
#[derive(Clone, Copy, Debug)]
enum Chance {
    Giver(usize),
    Taker(usize),
}

fn chance() -> impl Strategy<Value = Chance> {
    prop_oneof![(0..7_usize).prop_map(Chance::Giver), (0..9_usize).prop_map(Chance::Taker)]
}

proptest! {
    /// Whatever the two hear, in whatever order: never do both move the same sessions.
    #[test]
    fn one_owner_at_a_time(chances in prop::collection::vec(chance(), 0..60), pace in 1..4_usize) {
        let (mut giver, mut taker) = (Giving::Starting, Taking::Opening);
        let (mut token, mut given_up) = (false, false);
        for (number, chance) in chances.into_iter().enumerate() {
            // Now and then what a sound peer would say, so that the later states are reached.
            let sound = number % pace == 0;
            match chance {
                Chance::Giver(index) => {
                    let event = if sound { sound_for_giver(giver, taker) } else { GIVER_EVENTS[index] };
                    // The new one says that it has taken only if it has.
                    if event == GiverEvent::Taken && taker != Taking::Owner {
                        continue;
                    }
                    let (mut next, mut act) = giver.after(event);
                    if act == GiverAct::TakeBack {
                        let back = std::mem::take(&mut token);
                        let event = if back { GiverEvent::TokenBack } else { GiverEvent::TokenGone };
                        (next, act) = next.after(event);
                    }
                    token |= act == GiverAct::Decide;
                    if act == GiverAct::GoOn {
                        prop_assert!(taker != Taking::Owner, "both go on");
                        given_up = true;
                    }
                    giver = next;
                }
                Chance::Taker(index) => {
                    let event = if sound { sound_for_taker(taker) } else { TAKER_EVENTS[index] };
                    if given_up || matches!(event, TakerEvent::Token | TakerEvent::NoToken) {
                        continue;
                    }
                    let (mut next, act) = taker.after(event);
                    if act == TakerAct::TryToken && std::mem::take(&mut token) {
                        (next, _) = next.after(TakerEvent::Token);
                    }
                    if next == Taking::Owner {
                        prop_assert!(matches!(giver, Giving::Deciding | Giving::Following | Giving::Kept | Giving::Gone));
                    }
                    taker = next;
                }
            }
        }
    }
}

fn sound_for_giver(giver: Giving, taker: Taking) -> GiverEvent {
    match giver {
        Giving::Starting => GiverEvent::Hello,
        Giving::Offered => GiverEvent::Ready,
        Giving::Moving => GiverEvent::Holding,
        Giving::Deciding if taker == Taking::Owner => GiverEvent::Taken,
        Giving::Deciding => GiverEvent::Stalled,
        Giving::Following | Giving::Kept | Giving::Gone => GiverEvent::NoneLeft,
    }
}

fn sound_for_taker(taker: Taking) -> TakerEvent {
    match taker {
        Taking::Opening => TakerEvent::Offer,
        Taking::Waiting => TakerEvent::Estate,
        Taking::Receiving => TakerEvent::All,
        Taking::Holding => TakerEvent::Unfit,
        Taking::Owner => TakerEvent::Bye,
        Taking::Alone | Taking::Ended => TakerEvent::Closed,
    }
}
