//! What is shipped for Prometheus and Grafana fits the program: every metric in it exists, every
//! alert has its page and its test, and Prometheus' own tool takes the rules.

// A test may panic, also outside of its test functions.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::metric_names::{ALL, Kind};

const RULES: &str = "deploy/prometheus/mainstay.rules.yml";
const RULE_TESTS: &str = "deploy/prometheus/mainstay.test.yml";
const DASHBOARD: &str = "deploy/grafana/mainstay.json";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(root().join(&path)).unwrap()
}

/// The words of a text that look like metrics of ours.
fn metrics(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("mainstay_")).collect()
}

/// Whether there is such a metric; a histogram goes by the names of its series.
fn exists(name: &str) -> bool {
    ALL.iter().any(|metric| match metric.kind {
        Kind::Histogram => ["_bucket", "_sum", "_count"]
            .iter()
            .any(|part| name.strip_suffix(part) == Some(metric.name)),
        Kind::Counter | Kind::Gauge => metric.name == name,
    })
}

/// What follows `key` on its line, of every line that has it.
fn values<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    text.lines().filter_map(|line| Some(line.trim().strip_prefix(key)?.trim())).collect()
}

#[test]
fn every_metric_that_is_asked_for_exists() {
    for file in [RULES, RULE_TESTS, DASHBOARD] {
        let text = read(file);
        let asked = metrics(&text);
        assert!(asked.len() > 10, "{file}: {asked:?}");
        let unknown: Vec<&&str> = asked.iter().filter(|name| !exists(name)).collect();
        assert!(unknown.is_empty(), "{file} asks for what /metrics does not have: {unknown:?}");
    }
    assert!(!exists("mainstay_backend_dial_seconds"), "a histogram has no series of its own name");
}

#[test]
fn every_alert_has_its_page_and_its_test() {
    let (rules, tests) = (read(RULES), read(RULE_TESTS));
    let alerts = values(&rules, "- alert:");
    let pages = values(&rules, "runbook:");
    assert!(alerts.len() > 8 && alerts.len() == pages.len());
    let watching = read("docs/operations/watching.md");
    for (alert, page) in alerts.iter().zip(pages) {
        assert_eq!(page, format!("docs/operations/alerts/{alert}.md"));
        let text = read(page);
        assert!(text.starts_with(&format!("# {alert}\n")), "{page}");
        assert!(text.contains("\n## What to do\n"), "{page} does not say what to do");
        assert!(
            watching.contains(&format!("[{alert}](alerts/{alert}.md)")),
            "{alert} is not listed"
        );
        let tested = tests.matches(&format!("alertname: {alert}")).count();
        let fires = tests.contains(&format!("alertname=\"{alert}\"")) || tested > 1;
        assert!(tested > 0 && fires, "{RULE_TESTS} shows {alert} neither silent nor firing");
    }
    let files = std::fs::read_dir(root().join("docs/operations/alerts")).unwrap();
    let files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    assert_eq!(files.len(), alerts.len(), "a page without its alert: {files:?}");
}

#[test]
fn the_dashboard_is_whole() {
    let dashboard: serde_json::Value = serde_json::from_str(&read(DASHBOARD)).unwrap();
    let panels = dashboard.get("panels").unwrap().as_array().unwrap();
    let number = |panel: &serde_json::Value, key: &str| {
        panel.pointer(&format!("/gridPos/{key}")).unwrap().as_u64().unwrap()
    };
    let mut places = BTreeSet::new();
    for panel in panels {
        let title = panel.get("title").unwrap().as_str().unwrap();
        let queries = panel.get("targets").unwrap().as_array().unwrap();
        assert!(!queries.is_empty(), "{title}");
        for query in queries {
            let expr = query.get("expr").unwrap().as_str().unwrap();
            assert!(
                expr.contains("instance=~\"$instance\""),
                "{title} shows every balancer: {expr}"
            );
        }
        for x in number(panel, "x")..number(panel, "x") + number(panel, "w") {
            assert!(x < 24, "{title} is too wide");
            for y in number(panel, "y")..number(panel, "y") + number(panel, "h") {
                assert!(places.insert((x, y)), "{title} lies on another panel");
            }
        }
    }
}

#[test]
fn prometheus_takes_the_rules() {
    for (verb, file) in [("check", RULES), ("test", RULE_TESTS)] {
        let run = Command::new("promtool").args([verb, "rules"]).arg(root().join(file)).output();
        let Ok(run) = run else {
            writeln!(std::io::stderr(), "SKIPPED: the alert rules: no promtool here").ok();
            return;
        };
        let said = String::from_utf8_lossy(&run.stdout) + String::from_utf8_lossy(&run.stderr);
        assert!(run.status.success(), "promtool {verb} rules: {said}");
    }
}
