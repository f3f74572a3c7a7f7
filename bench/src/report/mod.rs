//! Turns raw figures into what people look at.

mod markdown;

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

use crate::results::Results;

/// Writes the report into `dir` and prints it.
pub(crate) fn write(results: &Results, dir: &Path) -> Result<()> {
    let text = markdown::render(results)?;
    let path = dir.join("report.md");
    fs::write(&path, &text).with_context(|| format!("writing {}", path.display()))?;
    println!("{text}");
    Ok(())
}
