//! The tool as a person uses it: short runs of the real binary, and what they leave behind.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;

fn bench(arguments: &[&str], out: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mainstay-bench"));
    let output = command.arg("run").args(arguments).arg("--out").arg(out).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

fn results(out: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(out.join("results.json")).unwrap()).unwrap()
}

#[test]
fn the_direct_connection_is_measured() {
    let out = tempfile::tempdir().unwrap();
    let arguments = ["--peers", "direct", "--rounds", "1", "--seconds", "0.3"];
    bench(&[&arguments[..], &["--scenario", "rr-64x64"]].concat(), out.path());

    let results = results(out.path());
    let cell = &results["cells"][0];
    assert_eq!(cell["peer"], "direct");
    assert_eq!(cell["fault"], Value::Null);
    assert_eq!(cell["figures"]["errors"], 0.0);
    assert!(cell["figures"]["per_second"].as_f64().unwrap() > 100.0, "{cell}");
    let (p50, p99) = (&cell["figures"]["p50_micros"], &cell["figures"]["p99_micros"]);
    assert!(p50.as_f64().unwrap() <= p99.as_f64().unwrap(), "{cell}");
    assert!(out.path().join("medians.json").is_file());
    let picture = std::fs::read_to_string(out.path().join("requests.svg")).unwrap();
    assert!(picture.contains("rr-64x64") && picture.contains("direct"));
}

#[test]
fn every_kind_of_scenario_runs() {
    let out = tempfile::tempdir().unwrap();
    let scenarios = "crr-4,open-4x64-200,bulk-2-both,idle-20,kube,growth-rr-20";
    let arguments = ["--peers", "direct", "--rounds", "1", "--seconds", "0.3"];
    bench(&[&arguments[..], &["--scenario", scenarios]].concat(), out.path());

    let results = results(out.path());
    let cells = results["cells"].as_array().unwrap();
    assert_eq!(cells.len(), 6);
    for cell in cells {
        assert_eq!(cell["fault"], Value::Null, "{cell}");
    }
    assert!(cells[2]["figures"]["gib_per_second"].as_f64().unwrap() > 0.0);
    assert!(cells[4]["figures"]["call_p50_micros"].as_f64().unwrap() > 0.0);
}

#[test]
fn a_missing_peer_keeps_its_row() {
    let out = tempfile::tempdir().unwrap();
    let arguments = ["--peers", "mainstay,direct", "--mainstay", "/nowhere/mainstay"];
    let short = ["--rounds", "1", "--seconds", "0.2", "--scenario", "rr-1x64"];
    let output = bench(&[&arguments[..], &short[..]].concat(), out.path());

    let missing = results(out.path())["peers"][0]["missing"].as_str().unwrap().to_owned();
    assert!(missing.contains("/nowhere/mainstay"), "{missing}");
    let report = String::from_utf8(output.stdout).unwrap();
    let row = report.lines().find(|line| line.starts_with("| rr-1x64 | mainstay |")).unwrap();
    assert!(row.contains("not built: cargo build --release"), "{row}");
}

#[test]
fn a_report_can_be_made_anew() {
    let out = tempfile::tempdir().unwrap();
    let short = ["--peers", "direct", "--rounds", "1", "--seconds", "0.2", "--scenario", "rr-1x64"];
    let first = bench(&short, out.path());

    let mut again = Command::new(env!("CARGO_BIN_EXE_mainstay-bench"));
    let again = again.arg("report").arg(out.path()).output().unwrap();
    assert_eq!(again.stdout, first.stdout);
}
