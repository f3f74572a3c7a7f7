//! When a token ends, as Kubernetes writes it, and how kubeadm shows what is left.

use std::fmt;
use std::str::FromStr;

use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp};

/// A moment in RFC 3339 with the zone it was written in.
///
/// kubeadm up to about 1.21 wrote the zone of the machine, later ones write UTC. Both are read, and
/// shown again in their own zone as `kubeadm token list` does; new ones are in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expiration {
    at: Timestamp,
    offset: Offset,
}

impl Expiration {
    /// The moment in UTC, cut to the second.
    #[must_use]
    pub fn utc(at: Timestamp) -> Self {
        // Cutting a moment to its second cannot leave the range of moments.
        let at = Timestamp::from_second(at.as_second()).unwrap_or(at);
        Self { at, offset: Offset::UTC }
    }

    /// The moment.
    #[must_use]
    pub fn at(self) -> Timestamp {
        self.at
    }

    /// Whether it is past at `now`. At the very moment it is, as for the token cleaner.
    #[must_use]
    pub fn is_past(self, now: Timestamp) -> bool {
        now >= self.at
    }
}

impl FromStr for Expiration {
    type Err = ExpirationError;

    fn from_str(text: &str) -> Result<Self, ExpirationError> {
        let zone = zone_of(text).ok_or(ExpirationError)?;
        let at = text.parse().map_err(|_| ExpirationError)?;
        Ok(Self { at, offset: offset_of(zone).ok_or(ExpirationError)? })
    }
}

impl fmt::Display for Expiration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let local = self.offset.to_datetime(self.at);
        write!(f, "{}", local.strftime("%Y-%m-%dT%H:%M:%S"))?;
        let minutes = self.offset.seconds() / 60;
        if minutes == 0 {
            return f.write_str("Z");
        }
        let sign = if minutes < 0 { '-' } else { '+' };
        write!(f, "{sign}{:02}:{:02}", minutes.abs() / 60, minutes.abs() % 60)
    }
}

/// The zone at the end of a text that has the shape `2026-11-23T21:11:17[.5](Z|+01:00)`, the one
/// that Go's `time.RFC3339` takes; jiff alone would take many more.
fn zone_of(text: &str) -> Option<&str> {
    const SHAPE: &[u8] = b"dddd-dd-ddTdd:dd:dd";
    let (moment, mut rest) = text.split_at_checked(SHAPE.len())?;
    if !has_shape(moment, SHAPE) || moment.ends_with("60") {
        return None;
    }
    if let Some(fraction) = rest.strip_prefix('.') {
        rest = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
        if rest.len() == fraction.len() {
            return None;
        }
    }
    let known = rest == "Z" || has_shape(rest, b"+dd:dd") || has_shape(rest, b"-dd:dd");
    known.then_some(rest)
}

/// Whether `text` is like `shape`, where `d` stands for a digit.
fn has_shape(text: &str, shape: &[u8]) -> bool {
    text.len() == shape.len()
        && text.bytes().zip(shape).all(|(byte, expected)| match expected {
            b'd' => byte.is_ascii_digit(),
            other => byte == *other,
        })
}

/// The offset of `Z` or `±hh:mm`.
fn offset_of(zone: &str) -> Option<Offset> {
    let Some((hours, minutes)) = zone.split_once(':') else {
        return Some(Offset::UTC);
    };
    let minutes: i32 = minutes.parse().ok()?;
    let seconds = hours.trim_start_matches(['+', '-']).parse::<i32>().ok()? * 3600 + minutes * 60;
    Offset::from_seconds(if zone.starts_with('-') { -seconds } else { seconds }).ok()
}

/// The text is no moment. The token cleaner deletes a token with such an expiration at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the expiration is not an RFC 3339 time such as 2026-11-23T21:11:17Z")]
pub struct ExpirationError;

/// How much time is left, in the largest unit that fits, cut off: `<invalid>` from two seconds in
/// the past on, else `0s`, `59s`, `59m`, `23h`, `364d`, `1y` (Kubernetes' `ShortHumanDuration`).
#[must_use]
pub fn short_human_duration(left: SignedDuration) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    const YEAR: i64 = 365 * DAY;
    match left.as_secs() {
        ..-1 => "<invalid>".to_owned(),
        -1..0 => "0s".to_owned(),
        seconds @ 0..MINUTE => format!("{seconds}s"),
        seconds @ MINUTE..HOUR => format!("{}m", seconds / MINUTE),
        seconds @ HOUR..DAY => format!("{}h", seconds / HOUR),
        seconds @ DAY..YEAR => format!("{}d", seconds / DAY),
        seconds => format!("{}y", seconds / YEAR),
    }
}
