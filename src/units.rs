//! How sizes, shares and times are written for people, on every screen alike.

/// `2.3 ms`; how long the last answered probe took.
pub(crate) fn answer_time(us: Option<u64>) -> String {
    us.map_or_else(|| "-".to_owned(), |us| format!("{}.{} ms", us / 1000, us % 1000 / 100))
}

/// A part of a whole in per cent.
pub(crate) fn share(part: u64, all: u64) -> String {
    match (part * 100 + all / 2).checked_div(all) {
        Some(percent) => format!("{percent}%"),
        None => "-".to_owned(),
    }
}

/// `512 B`, `1.5 MiB`
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut tenths = count.saturating_mul(10) / 1024;
    let mut unit = UNITS[0];
    for larger in UNITS.iter().skip(1) {
        if tenths < 10 * 1024 {
            break;
        }
        tenths /= 1024;
        unit = larger;
    }
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_for_people() {
        let table = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.5 KiB"),
            (1 << 20, "1.0 MiB"),
            (5 << 30, "5.0 GiB"),
            (u64::MAX, "1638.3 PiB"),
        ];
        for (count, shown) in table {
            assert_eq!(bytes(count), shown);
        }
    }

    #[test]
    fn shares_for_people() {
        assert_eq!(share(1, 3), "33%");
        assert_eq!(share(2, 3), "67%");
        assert_eq!(share(0, 0), "-");
    }

    #[test]
    fn answers_for_people() {
        assert_eq!(answer_time(Some(2_345)), "2.3 ms");
        assert_eq!(answer_time(Some(99)), "0.0 ms");
        assert_eq!(answer_time(None), "-");
    }
}
