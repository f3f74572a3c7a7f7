//! Configuration files: wrong ones are named with file, line and way out; what `check` prints is
//! one itself.

use super::input::assert_ends;
use crate::support::Setup;
use crate::support::command::mainstay;
use crate::support::make_fifo;

/// Files that cannot be used, and what is said of them.
const WRONG_FILES: &[(&str, &str)] = &[
    ("bakends = []", "c.toml:1: unknown key `bakends`; did you mean `backends`?"),
    ("\n\n[timeouts]\nidel = '1s'", "c.toml:4: unknown key `timeouts.idel`; did you mean"),
    ("[timeouts]\nidle = 5", "c.toml:2: timeouts.idle: is a number"),
    ("[timeouts]\nidle = '5'", "c.toml:2: timeouts.idle: `5` is not a duration"),
    ("[timeouts]\nidle = '-1s'", "c.toml:2: timeouts.idle: `-1s` is negative"),
    ("backends = '10.0.0.1'", "c.toml:1: backends: is a string; it must be a list"),
    ("backends = ['master1']", "c.toml:1: backends: `master1` is no backend"),
    ("workers = -1", "c.toml:1: workers: "),
    ("workers = 1.5", "c.toml:1: workers: is a fraction"),
    ("[limits]\nmax_connections = 0", "c.toml:2: limits.max_connections: 0 is not between"),
    ("timeouts = 1", "c.toml:1: timeouts: is a number; it is a table"),
    ("listen = [", "c.toml:1: not valid TOML"),
    ("workers = 1\nworkers = 2", "c.toml:2: not valid TOML: duplicate key"),
];

#[test]
fn a_wrong_file_is_named_with_its_line_and_the_way_out() {
    let dir = tempfile::tempdir().unwrap();
    for (text, sentence) in WRONG_FILES {
        std::fs::write(dir.path().join("c.toml"), text).unwrap();
        for command in ["check", "serve"] {
            let outcome = mainstay(dir.path(), &[command, "--config", "c.toml"]);
            assert_ends(&outcome, 64, sentence);
        }
    }
}

#[test]
fn a_file_that_is_no_configuration_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let check = |name: &str| mainstay(dir.path(), &["check", "--config", name]);
    assert_ends(&check("none.toml"), 64, "none.toml: there is no such file");
    assert_ends(&check("."), 64, "cannot read the configuration");
    std::fs::write(dir.path().join("huge"), vec![b'#'; (1 << 20) + 1]).unwrap();
    assert_ends(&check("huge"), 64, "larger than 1 MiB");
    assert_ends(&check("/dev/zero"), 64, "it is no regular file");
    make_fifo(&dir.path().join("fifo"));
    assert_ends(&check("fifo"), 64, "fifo: it is no regular file");
    std::fs::write(dir.path().join("binary"), [0xff, 0xfe, 0]).unwrap();
    assert_ends(&check("binary"), 64, "not UTF-8");
    std::fs::write(dir.path().join("empty"), "").unwrap();
    assert_eq!(check("empty").code, Some(0));
}

/// What stands in the file, and the end of `check` and of `serve` with it.
const WRONG_PLACES: &[(&str, i32, &str)] = &[
    ("cluster.ca = 'none.crt'", 64, "cluster.ca: cannot read none.crt: there is no such file"),
    ("cluster.ca = 'c.toml'", 64, "cluster.ca: cannot read c.toml: it is no PEM file"),
    ("cluster.ca = '.'", 64, "cluster.ca: cannot read .:"),
    ("cluster.ca = 'fifo'", 64, "cluster.ca: cannot read fifo: it is no regular file"),
    ("cluster.ca = '/dev/zero'", 64, "cluster.ca: cannot read /dev/zero: it is no regular file"),
    ("state_dir = 'c.toml'", 64, "the state directory c.toml is a file"),
    ("state_dir = 'c.toml/below'", 64, "the state directory c.toml/below"),
    ("ledger = 'none/ledger.jsonl'", 69, "cannot open the ledger none/ledger.jsonl"),
    ("ledger = '.'", 69, "cannot open the ledger ."),
];

#[test]
fn check_finds_what_a_start_would_find() {
    let dir = tempfile::tempdir().unwrap();
    make_fifo(&dir.path().join("fifo"));
    for (text, code, sentence) in WRONG_PLACES {
        let state = if text.starts_with("state_dir") { "" } else { "state_dir = 'state'" };
        let file = format!(
            "{text}\n{state}\nlisten = ['127.0.0.1:0']\nadmin = 'unix:a.sock'\njoin.listen = 'off'\n"
        );
        std::fs::write(dir.path().join("c.toml"), file).unwrap();
        let ends = ["check", "serve"].map(|it| mainstay(dir.path(), &[it, "--config", "c.toml"]));
        for end in &ends {
            assert_ends(end, *code, sentence);
        }
        assert_eq!(last_line(&ends[0].err), last_line(&ends[1].err), "{text}");
        assert!(!dir.path().join("none").exists() && !dir.path().join("a.sock").exists());
    }
    let right = ["check", "--state-dir", "a/b", "--listen", "127.0.0.1:0"];
    assert_eq!(mainstay(dir.path(), &right).code, Some(0));
    assert!(!dir.path().join("a").exists(), "check makes nothing");
}

fn last_line(text: &str) -> &str {
    text.lines().last().unwrap_or_default()
}

#[test]
fn what_check_prints_is_a_configuration_with_the_same_values() {
    let dir = tempfile::tempdir().unwrap();
    let flags =
        ["check", "--backend", "a=10.0.0.11", "--backend", "10.0.0.12:7000", "--probe", "tcp"];
    let first = mainstay(dir.path(), &flags);
    assert_eq!(first.code, Some(0));
    std::fs::write(dir.path().join("c.toml"), &first.out).unwrap();
    let second = mainstay(dir.path(), &["check", "--config", "c.toml"]);
    assert_eq!((second.code, second.err.as_str()), (Some(0), ""));
    let values = |out: &str| -> Vec<String> {
        let values = out.lines().map(|line| line.split("  # ").next().unwrap().trim().to_owned());
        values.collect()
    };
    assert_eq!(values(&first.out), values(&second.out));
    assert!(second.out.contains("# c.toml:2"), "{}", second.out);

    let balancer = Setup::default().config(&first.out).start();
    let names: Vec<_> = balancer.status().backends.into_iter().map(|row| row.name).collect();
    assert_eq!(names, ["a", "10.0.0.12:7000"]);
}

#[test]
fn check_prints_long_values_beside_short_ones() {
    let dir = tempfile::tempdir().unwrap();
    let allow: Vec<String> =
        (0..5000).map(|n| format!("'10.{}.{}.0/24'", n / 256, n % 256)).collect();
    let text = format!("join.allow = [{}]\nprobe = 'tcp'\nstate_dir = 'state'", allow.join(", "));
    std::fs::write(dir.path().join("c.toml"), text).unwrap();
    let outcome = mainstay(dir.path(), &["check", "--config", "c.toml"]);
    assert_eq!((outcome.code, outcome.err.as_str()), (Some(0), ""));
    let longest = outcome.out.lines().map(str::len).max().unwrap_or_default();
    assert!(longest > usize::from(u16::MAX), "{longest}");
    let short = outcome.out.lines().filter(|line| !line.starts_with("join.allow ="));
    assert!(short.clone().count() > 20 && short.clone().all(|line| line.len() < 120));
}
