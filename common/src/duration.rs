//! Durations as people write and read them: `1s 500ms` in, `12s` out.

use std::time::Duration;

use jiff::SignedDuration;

/// Longest duration a setting may have: ten years, far beyond any timeout and far below overflow.
const DURATION_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Why a text is no duration.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DurationError {
    /// Not in the form `1h 5m 30s 500ms`.
    #[error("`{0}` is not a duration; write it like `30s`, `1s 500ms` or `65m`")]
    Form(String),
    /// Below zero.
    #[error("`{0}` is negative; a duration starts at `0s`")]
    Negative(String),
    /// Beyond ten years.
    #[error("`{0}` is longer than ten years")]
    TooLong(String),
}

/// Reads `30s`, `1s 500ms`, `1h30m`.
///
/// # Errors
/// One sentence that names the text and the form it should have.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let shown = || text.chars().take(40).collect::<String>();
    let parsed: SignedDuration = text.trim().parse().map_err(|_| DurationError::Form(shown()))?;
    if parsed.is_negative() {
        return Err(DurationError::Negative(shown()));
    }
    let duration = parsed.unsigned_abs();
    if duration > DURATION_MAX {
        return Err(DurationError::TooLong(shown()));
    }
    Ok(duration)
}

/// The shortest exact form: `1h 5m`, `500ms`, `0s`.
#[must_use]
pub fn exact(duration: Duration) -> String {
    if duration.is_zero() {
        return "0s".to_owned();
    }
    let total = duration.as_secs();
    let millis = duration.subsec_millis();
    let parts = [
        (total / 3600, "h"),
        (total / 60 % 60, "m"),
        (total % 60, "s"),
        (u64::from(millis), "ms"),
        (u64::from(duration.subsec_micros() % 1000), "µs"),
    ];
    let shown: Vec<String> =
        parts.iter().filter(|(n, _)| *n > 0).map(|(n, unit)| format!("{n}{unit}")).collect();
    if shown.is_empty() { format!("{}ns", duration.subsec_nanos()) } else { shown.join(" ") }
}

/// The largest unit only, as kubectl shows ages: `12s`, `5m`, `3h`, `12d`.
#[must_use]
pub fn age(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_people_write() {
        let table = [
            ("30s", 30_000),
            ("1s 500ms", 1_500),
            ("65m", 65 * 60_000),
            ("1h30m", 90 * 60_000),
            ("0s", 0),
            (" 2s ", 2_000),
        ];
        for (text, millis) in table {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn refuses_the_rest_with_a_sentence() {
        for text in ["", "30", "abc", "-5s", "1y", "99999999h", "5 s s"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse("-5s").unwrap_err().to_string().contains("negative"));
    }

    #[test]
    fn shows_ages() {
        let table =
            [(0, "0s"), (59, "59s"), (60, "1m"), (3599, "59m"), (3600, "1h"), (86_400, "1d")];
        for (seconds, shown) in table {
            assert_eq!(age(Duration::from_secs(seconds)), shown);
        }
    }

    proptest! {
        #[test]
        fn exact_reads_back(millis in 0u64..10_000_000_000) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse(&exact(duration)), Ok(duration));
        }

        #[test]
        fn any_text_is_an_answer(text in ".{0,60}") {
            parse(&text).ok();
        }
    }
}
