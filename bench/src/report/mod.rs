//! Turns raw figures into what people look at: a Markdown page, pictures, and medians for programs.

mod markdown;
mod medians;
mod plot;

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

use crate::results::Results;

/// Writes the report into `dir` and prints it.
pub(crate) fn write(results: &Results, dir: &Path) -> Result<()> {
    let pictures = plot::draw_all(results, dir)?;
    let text = markdown::render(results, &pictures)?;
    save(&dir.join("report.md"), text.as_bytes())?;
    save(&dir.join("medians.json"), &serde_json::to_vec_pretty(&medians::of(results))?)?;
    println!("{text}");
    Ok(())
}

fn save(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).with_context(|| format!("writing {}", path.display()))
}

/// Three significant digits, with `k`, `M` or `G` where that is shorter.
fn short(value: f64) -> String {
    let (scaled, unit) = match value.abs() {
        size if size >= 1e9 => (value / 1e9, " G"),
        size if size >= 1e6 => (value / 1e6, " M"),
        size if size >= 1e4 => (value / 1e3, " k"),
        _ => (value, ""),
    };
    let digits = match scaled.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    format!("{scaled:.digits$}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_are_shown() {
        let shown = [0.0, 0.384, 61.23, 987.6, 9876.0, 62_345.0, 1.3e6, 2.5e9].map(short);
        let expected = ["0.00", "0.38", "61.2", "988", "9876", "62.3 k", "1.30 M", "2.50 G"];
        assert_eq!(shown, expected);
    }
}
