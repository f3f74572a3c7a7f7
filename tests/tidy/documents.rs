//! Rules for what is not Rust: links lead somewhere, and the unit file waits long enough.

use common::config::{Config, Layers};
use common::drain::CUTTING_MAX;
use lb::CloseReason;
use lb::dial::DialFailure;

use crate::none;
use crate::source::{File, files, root};

/// The targets of the Markdown links of a text, without those inside of code.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut fenced = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        // Every second piece between backticks is code.
        let prose: String = line.split('`').step_by(2).collect();
        for piece in prose.split("](").skip(1) {
            if let Some((target, _)) = piece.split_once(')') {
                found.push((index + 1, target.to_owned()));
            }
        }
    }
    found
}

/// The anchors that GitHub gives to the headings of a text.
fn anchors(text: &str) -> Vec<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| {
        let words = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = words.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}

/// What is wrong with a link of `file`.
fn fault(file: &File, target: &str) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
    let here = root().join(&file.path);
    let there = if path.is_empty() { here } else { here.parent()?.join(path) };
    if !there.exists() {
        return Some("no such file".to_owned());
    }
    let text = std::fs::read_to_string(there).unwrap_or_default();
    let known = anchor.is_empty() || anchors(&text).iter().any(|known| known == anchor);
    (!known).then(|| "no such heading".to_owned())
}

#[test]
fn links_lead_somewhere() {
    let mut broken = Vec::new();
    for file in files().iter().filter(|file| file.path.ends_with(".md")) {
        for (line, target) in links(&file.text) {
            if let Some(fault) = fault(file, &target) {
                broken.push(format!("{}:{line}: {target}: {fault}", file.path));
            }
        }
    }
    none(broken, "mend the link, or write the page that it promises.");
}

/// A page that names tests as `file:name` names only such as there are.
#[test]
fn tests_that_are_named_exist() {
    let files = files();
    let (mut missing, mut named) = (Vec::new(), 0);
    for page in files.iter().filter(|file| file.path.ends_with(".md")) {
        for piece in page.text.split('`').skip(1).step_by(2) {
            let Some((path, name)) = piece.split_once(".rs:") else { continue };
            named += 1;
            let path = format!("{path}.rs");
            let there = files.iter().find(|file| file.path == path);
            if !there.is_some_and(|file| file.text.contains(&format!("fn {name}("))) {
                missing.push(format!("{}: {piece}", page.path));
            }
        }
    }
    assert!(named > 20, "{named}");
    none(missing, "name the test that shows it now, or take the claim back.");
}

#[test]
fn links_are_found_outside_of_code() {
    let text = "[a](b.md) and `[c](d.md)`\n```\n[e](f.md)\n```\n![g](h.png#i)";
    let expected = [(1, "b.md".to_owned()), (5, "h.png#i".to_owned())];
    assert_eq!(links(text), expected);
    assert_eq!(anchors("# One `two`, three\ntext"), ["one-two-three"]);
}

#[test]
fn every_value_of_a_label_is_documented() {
    let page = std::fs::read_to_string(root().join("docs/metrics.md")).unwrap();
    let reasons = CloseReason::ALL.iter().map(|reason| reason.label());
    let failures = DialFailure::ALL.iter().map(|failure| failure.label());
    let missing = reasons.chain(failures).filter(|label| !page.contains(&format!("`{label}`")));
    none(
        missing.map(str::to_owned).collect(),
        "say in docs/metrics.md, below the table, what this value means.",
    );
}

#[test]
fn the_service_manager_waits_until_the_sessions_are_drained() {
    let unit = std::fs::read_to_string(root().join("deploy/mainstay.service")).unwrap();
    let wait = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec="));
    let wait: u64 = wait.unwrap().trim_end_matches('s').parse().unwrap();
    let stop = Config::checked(&Layers::default()).unwrap().stop;
    let ours = stop.lame_duck + stop.drain_timeout + CUTTING_MAX;
    assert!(
        wait > ours.as_secs(),
        "deploy/mainstay.service: TimeoutStopSec={wait}s is not above the {ours:?} of a stop with default settings"
    );
}
