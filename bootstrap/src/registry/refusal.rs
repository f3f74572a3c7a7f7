//! No, and why: a sentence for whoever asked, and of what kind it is.

use super::members::ClaimRefusal;

/// Of what kind a refusal is; the API makes a status code of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusedKind {
    /// Ask differently.
    Malformed,
    /// No or a wrong ticket; no member.
    Unauthorized,
    /// Known, but not allowed to.
    Forbidden,
    /// It contradicts what is there.
    Conflict,
}

/// No, and why. The sentence holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{sentence}")]
pub struct Refused {
    /// Of what kind.
    pub kind: RefusedKind,
    /// What is wrong, and what to do.
    pub sentence: String,
}

impl Refused {
    /// The request itself is wrong.
    #[must_use]
    pub fn malformed(sentence: impl Into<String>) -> Self {
        Self { kind: RefusedKind::Malformed, sentence: sentence.into() }
    }

    /// There is no ticket, or a wrong one.
    #[must_use]
    pub fn ticket(sentence: impl Into<String>) -> Self {
        Self { kind: RefusedKind::Unauthorized, sentence: sentence.into() }
    }

    /// The caller may not do that.
    #[must_use]
    pub fn forbidden(sentence: impl Into<String>) -> Self {
        Self { kind: RefusedKind::Forbidden, sentence: sentence.into() }
    }

    /// The caller is no member.
    #[must_use]
    pub fn unknown(name: &str) -> Self {
        ClaimRefusal::Unknown(name.to_owned()).into()
    }
}

impl From<ClaimRefusal> for Refused {
    fn from(refusal: ClaimRefusal) -> Self {
        let kind = match refusal {
            ClaimRefusal::Name(_) => RefusedKind::Malformed,
            ClaimRefusal::Unknown(_) => RefusedKind::Unauthorized,
            ClaimRefusal::NameTaken(_)
            | ClaimRefusal::AddressTaken { .. }
            | ClaimRefusal::NotFirst(_)
            | ClaimRefusal::Full => RefusedKind::Conflict,
        };
        Self { kind, sentence: refusal.to_string() }
    }
}
