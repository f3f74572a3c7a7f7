//! How long something lasts in NGINX's and HAProxy's words.

use std::time::Duration;

/// NGINX's units; a bare number is in seconds.
const NGINX: &[(&str, u64)] = &[
    ("", 1_000),
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
    ("w", 7 * 86_400_000),
];

/// HAProxy's units; a bare number is in milliseconds.
const HAPROXY: &[(&str, u64)] =
    &[("", 1), ("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// `1h 30m`, `500ms`, `60`.
pub(super) fn nginx(text: &str) -> Option<Duration> {
    sum(text, NGINX)
}

/// `35s`, `5000`. Microseconds are rounded down: none of our waits is so short.
pub(super) fn haproxy(text: &str) -> Option<Duration> {
    match text.strip_suffix("us") {
        Some(number) => Some(Duration::from_millis(number.parse::<u64>().ok()? / 1_000)),
        None => sum(text, HAPROXY),
    }
}

fn sum(text: &str, units: &[(&str, u64)]) -> Option<Duration> {
    let mut rest = text.trim();
    let mut millis = 0u64;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, after) = rest.split_at_checked(digits)?;
        let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, next) = after.split_at_checked(letters)?;
        let each = units.iter().find(|(name, _)| *name == unit)?.1;
        millis = millis.checked_add(number.parse::<u64>().ok()?.checked_mul(each)?)?;
        rest = next.trim_start();
    }
    Some(Duration::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_are_read_in_their_own_units() {
        let millis = |found: Option<Duration>| found.map(|d| d.as_millis());
        for (text, expected) in
            [("1s", 1_000), ("60", 60_000), ("1h 30m", 5_400_000), ("10m", 600_000)]
        {
            assert_eq!(millis(nginx(text)), Some(expected), "{text}");
        }
        for (text, expected) in
            [("5000", 5_000), ("35s", 35_000), ("2500us", 2), ("1d", 86_400_000)]
        {
            assert_eq!(millis(haproxy(text)), Some(expected), "{text}");
        }
        for text in ["", "s", "1x", "-1s", "99999999999999999999d", "1s;"] {
            assert_eq!((nginx(text), haproxy(text)), (None, None), "{text}");
        }
    }
}
