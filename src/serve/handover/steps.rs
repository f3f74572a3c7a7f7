//! The hand-over as two pure machines: told what happened, each says what to do next.
//!
//! ```text
//! old:  Starting --hello--> Offered --ready--> Moving --holding--> Deciding --taken--> Following --> Gone
//!           \                  \                 \                   | token taken back
//!            +------------------+-----------------+------------------+--> Kept
//! new:  Opening --offer--> Waiting --estate--> Receiving --all--> Holding --token--> Owner --bye--> Alone
//! ```
//!
//! The point of no return is a token: one byte in a pipe that both can read. The old process puts it
//! there when the new one holds everything; whoever reads it owns the sessions, and only one can. So
//! a new process that stalls before it has read the token has taken nothing.

/// Where the old process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Giving {
    /// The new process was started.
    Starting,
    /// It knows what there is, and prepares.
    Offered,
    /// The sessions stand still and travel.
    Moving,
    /// The token can be read.
    Deciding,
    /// The new process owns what travelled; connections that are being established follow.
    Following,
    /// Over: this process goes on.
    Kept,
    /// Over: this process ends.
    Gone,
}

/// What the old process hears, or notices itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GiverEvent {
    /// The new one speaks our format.
    Hello,
    /// The new one is ready to receive.
    Ready,
    /// The new one holds everything.
    Holding,
    /// The new one has read the token.
    Taken,
    /// It refuses, speaks another format, says what makes no sense, or is gone.
    Unfit,
    /// It said nothing for too long.
    Stalled,
    /// We are asked to stop.
    StopRequested,
    /// The token was still there.
    TokenBack,
    /// The token was not there any more.
    TokenGone,
    /// No connection is left here.
    NoneLeft,
}

/// What the old process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GiverAct {
    /// Nothing.
    Wait,
    /// Tell what there is.
    Offer,
    /// Let the sessions stand still and send them.
    Move,
    /// Put the token into its pipe.
    Decide,
    /// Try to read the token.
    TakeBack,
    /// End the new process and go on as if nothing had happened.
    GoOn,
    /// End the new process, which had taken the sessions: they are lost. Go on with new ones.
    GoOnWithout,
    /// Let go of what travelled.
    LetGo,
    /// Say goodbye and end.
    Part,
}

impl Giving {
    /// What `event` leads to.
    pub(super) fn after(self, event: GiverEvent) -> (Self, GiverAct) {
        use GiverEvent as E;
        match (self, event) {
            (Self::Starting, E::Hello) => (Self::Offered, GiverAct::Offer),
            (Self::Offered, E::Ready) => (Self::Moving, GiverAct::Move),
            (Self::Moving, E::Holding) => (Self::Deciding, GiverAct::Decide),
            (Self::Deciding, E::Taken) => (Self::Following, GiverAct::LetGo),
            // Whatever it is, the token says whose the sessions are.
            (Self::Deciding, E::TokenBack) => (Self::Kept, GiverAct::GoOn),
            (Self::Deciding, E::TokenGone) => (Self::Kept, GiverAct::GoOnWithout),
            // It takes a moment; the stop comes after it.
            (Self::Moving | Self::Deciding, E::StopRequested) => (self, GiverAct::Wait),
            (Self::Deciding, _) => (Self::Deciding, GiverAct::TakeBack),
            (Self::Starting | Self::Offered | Self::Moving, _) => (Self::Kept, GiverAct::GoOn),
            (Self::Following, E::NoneLeft | E::Unfit | E::Stalled | E::StopRequested) => {
                (Self::Gone, GiverAct::Part)
            }
            (Self::Following | Self::Kept | Self::Gone, _) => (self, GiverAct::Wait),
        }
    }
}

/// Where the new process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taking {
    /// It has said hello.
    Opening,
    /// It is ready.
    Waiting,
    /// It has the estate, the sessions come.
    Receiving,
    /// It has everything and owns nothing.
    Holding,
    /// It owns everything; more sessions may follow.
    Owner,
    /// The old process is gone.
    Alone,
    /// Nothing was taken: it ends.
    Ended,
}

/// What the new process hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TakerEvent {
    /// What there is, and it fits.
    Offer,
    /// Everything but the sessions.
    Estate,
    /// Some sessions.
    Sessions,
    /// That was all, and it is all here.
    All,
    /// It read the token, or the pipe of the token says that the old process is dead.
    Token,
    /// The token was taken back.
    NoToken,
    /// The old process says goodbye.
    Bye,
    /// The old process is gone.
    Closed,
    /// Something does not fit.
    Unfit,
}

/// What the new process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TakerAct {
    /// Start what needs no session, and say that it is ready.
    Prepare,
    /// Take ports, counts and health.
    Adopt,
    /// Take sessions that stand still.
    Receive,
    /// Say that all is here.
    SayHolding,
    /// Try to read the token.
    TryToken,
    /// Begin to serve.
    Begin,
    /// Take sessions and go on with them at once.
    ReceiveAndGoOn,
    /// Add what the old process counted since.
    AddLater,
    /// Nothing more to do.
    Wait,
    /// Say why not, and end.
    Refuse,
    /// End.
    Leave,
}

impl Taking {
    /// What `event` leads to.
    pub(super) fn after(self, event: TakerEvent) -> (Self, TakerAct) {
        use TakerEvent as E;
        match (self, event) {
            (Self::Opening, E::Offer) => (Self::Waiting, TakerAct::Prepare),
            (Self::Waiting, E::Estate) => (Self::Receiving, TakerAct::Adopt),
            (Self::Receiving, E::Sessions) => (Self::Receiving, TakerAct::Receive),
            (Self::Receiving, E::All) => (Self::Holding, TakerAct::SayHolding),
            (Self::Holding, E::Token) => (Self::Owner, TakerAct::Begin),
            (Self::Holding, E::NoToken) => (Self::Ended, TakerAct::Leave),
            // Also when the old process is gone: it may have died after it decided.
            (Self::Holding, _) => (Self::Holding, TakerAct::TryToken),
            (Self::Owner, E::Sessions) => (Self::Owner, TakerAct::ReceiveAndGoOn),
            (Self::Owner, E::Bye) => (Self::Alone, TakerAct::AddLater),
            (Self::Owner, E::Closed) => (Self::Alone, TakerAct::Wait),
            // Of what does not fit a part may be here already, standing.
            (Self::Owner, E::Unfit) => (Self::Alone, TakerAct::ReceiveAndGoOn),
            (Self::Owner | Self::Alone, _) => (self, TakerAct::Wait),
            (Self::Opening | Self::Waiting | Self::Receiving, E::Closed) => {
                (Self::Ended, TakerAct::Leave)
            }
            (Self::Opening | Self::Waiting | Self::Receiving, _) => (Self::Ended, TakerAct::Refuse),
            (Self::Ended, _) => (Self::Ended, TakerAct::Leave),
        }
    }
}

#[cfg(test)]
#[path = "steps_tests.rs"]
mod tests;
