//! The Debian package, the image's files and what systemd says of the units.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::command::{MAINSTAY, Outcome, mainstay, run};
use crate::support::skipped;

pub(crate) fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: &str) -> String {
    std::fs::read_to_string(top().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

pub(crate) fn has(program: &str) -> bool {
    let mut which = Command::new("sh");
    which.args(["-c", &format!("command -v {program}")]);
    run(which).code == Some(0)
}

/// Builds the package of the program under test.
fn build(dir: &Path, version: &str) -> PathBuf {
    let mut command = Command::new("sh");
    command
        .arg(top().join("deploy/deb/build.sh"))
        .arg(MAINSTAY)
        .arg(dir)
        .arg(version)
        .env("COMPRESS", "none");
    let outcome = run(command);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    PathBuf::from(outcome.out.trim())
}

fn ask(package: &Path, args: &[&str]) -> Outcome {
    let mut command = Command::new("dpkg-deb");
    command.args(args).arg(package);
    let outcome = run(command);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    outcome
}

#[test]
fn the_package_holds_what_a_host_needs() {
    if !has("dpkg-deb") {
        return skipped("dpkg-deb is not installed");
    }
    let dir = tempfile::tempdir().unwrap();
    let package = build(dir.path(), "0.1.0");
    let files = ask(&package, &["--contents"]).out;
    for file in [
        "./usr/bin/mainstay",
        "./usr/lib/systemd/system/mainstay.service",
        "./etc/mainstay/mainstay.toml",
        "./etc/logrotate.d/mainstay",
        "./usr/lib/sysusers.d/mainstay.conf",
        "./usr/lib/tmpfiles.d/mainstay.conf",
        "./usr/share/man/man1/mainstay.1.gz",
        "./usr/share/man/man1/mainstay-certs-upload.1.gz",
        "./usr/share/man/man5/mainstay.toml.5.gz",
        "./usr/share/bash-completion/completions/mainstay",
        "./usr/share/zsh/vendor-completions/_mainstay",
        "./usr/share/fish/vendor_completions.d/mainstay.fish",
        "./usr/share/doc/mainstay/copyright",
        "./usr/share/doc/mainstay/docs/config.md",
    ] {
        assert!(files.lines().any(|line| line.ends_with(file)), "{file} in\n{files}");
    }
    assert!(files.lines().all(|line| line.contains(" root/root ")), "{files}");
    let info = ask(&package, &["--info"]).out;
    assert!(info.contains("Package: mainstay") && info.contains("Depends: libc6 (>= 2."), "{info}");
    let again = build(&dir.path().join("again"), "0.1.0");
    let bytes = |path: &Path| std::fs::read(path).unwrap();
    assert!(bytes(&package) == bytes(&again), "the same tree gives another package");
}

#[test]
fn the_package_is_installed_upgraded_and_removed() {
    if !rustix::process::geteuid().is_root()
        || !has("dpkg-deb")
        || !has("unshare")
        || !has("apt-get")
    {
        return skipped("needs root on a Debian system");
    }
    let dir = tempfile::tempdir().unwrap();
    let mut overlay = Command::new("unshare");
    let probe = "mount -t tmpfs t $0 && mkdir $0/u $0/w $0/m && \
                 mount -t overlay o -o lowerdir=/,upperdir=$0/u,workdir=$0/w $0/m";
    overlay.args(["-m", "-n", "sh", "-c", probe]).arg(dir.path());
    if run(overlay).code != Some(0) {
        return skipped("this machine does not let us mount an overlay");
    }
    let old = build(&dir.path().join("packages"), "0.1.0");
    let new = build(&dir.path().join("packages"), "0.1.1");
    let place = dir.path().join("copy");
    std::fs::create_dir(&place).unwrap();
    // apt and the index of manual pages take their time, so it has a deadline of its own.
    let mut life = Command::new("timeout");
    life.args([
        "--kill-after=5",
        "280",
        "unshare",
        "-m",
        "-n",
        "-p",
        "--kill-child",
        "--fork",
        "sh",
    ])
    .arg(top().join("tests/ops/package.sh"))
    .args([&place, &old, &new]);
    let ended = life.stdin(std::process::Stdio::null()).output().unwrap();
    let out = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert!(ended.status.success(), "{out}\n{}", String::from_utf8_lossy(&ended.stderr));
    assert!(out.ends_with("== done\n"), "{out}");
    assert!(out.contains("0.1.1 install ok installed"), "{out}");
    assert!(out.contains("on a balancer: systemctl enable --now mainstay"), "{out}");
}

/// The pages say how exposed systemd finds each unit; it must be what systemd says.
#[test]
fn the_exposure_of_the_units_is_the_documented_one() {
    if !has("systemd-analyze") {
        return skipped("systemd-analyze is not installed");
    }
    let page = text("docs/operations/install.md");
    let mut seen = 0;
    for entry in std::fs::read_dir(top().join("deploy")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "service") {
            continue;
        }
        let mut command = Command::new("systemd-analyze");
        command.args(["security", "--offline=true", "--no-pager"]).arg(&path);
        let outcome = run(command);
        let unit = path.file_name().unwrap().to_str().unwrap();
        let line = outcome.out.lines().find(|line| line.contains("Overall exposure level"));
        let line = line.unwrap_or_else(|| panic!("{outcome:?}"));
        let score = line.split(": ").nth(1).unwrap().split_whitespace().next().unwrap();
        let row = format!("| `{unit}` | {score} |");
        assert!(page.contains(&row), "docs/operations/install.md should hold: {row}");
        seen += 1;
    }
    assert!(seen > 0);
}

#[test]
fn every_command_has_a_manual_page_and_shells_take_the_completions() {
    let dir = tempfile::tempdir().unwrap();
    let outcome = mainstay(dir.path(), &["man", "share"]);
    assert_eq!((outcome.code, outcome.out.as_str()), (Some(0), ""), "{outcome:?}");
    let page = |name: &str| std::fs::read_to_string(dir.path().join("share").join(name)).unwrap();
    assert!(page("man1/mainstay-certs-upload.1").contains("certificate"));
    let keys = page("man5/mainstay.toml.5");
    assert!(keys.contains(".B timeouts.half_close") && keys.contains(".B backends"), "{keys}");
    let blocked = mainstay(dir.path(), &["man", "/dev/null/here"]);
    assert_eq!(blocked.code, Some(1), "{blocked:?}");
    for shell in ["bash", "zsh", "fish"] {
        let outcome = mainstay(dir.path(), &["completions", shell]);
        assert_eq!(outcome.code, Some(0));
        let file = dir.path().join(shell);
        std::fs::write(&file, &outcome.out).unwrap();
        assert!(outcome.out.contains("kubeadm-config"), "{shell}");
        if has(shell) {
            let mut check = Command::new(shell);
            check.arg("-n").arg(&file);
            assert_eq!(run(check).code, Some(0), "{shell} does not take them");
        }
    }
}

/// The static pod starts the program with flags that it has, and asks paths that answer.
#[test]
fn the_static_pod_fits_the_program() {
    let pod = text("deploy/static-pod.yaml");
    let args = pod.lines().find_map(|line| line.trim().strip_prefix("args: ")).unwrap();
    let args: Vec<String> = serde_json::from_str(args).unwrap();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("mainstay.toml"), "").unwrap();
    let args: Vec<&str> = args
        .iter()
        .map(|arg| match arg.as_str() {
            "serve" => "check",
            "/etc/mainstay/mainstay.toml" => "mainstay.toml",
            other => other,
        })
        .collect();
    let outcome = mainstay(dir.path(), &args);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let admin = outcome.out.lines().find(|line| line.starts_with("admin = ")).unwrap().to_owned();
    let port = admin.split('"').nth(1).unwrap().rsplit(':').next().unwrap().to_owned();
    for path in ["/livez", "/readyz"] {
        assert!(pod.contains(&format!("port: {port}, path: {path}")), "{path}");
    }
    if has("python3") {
        let mut yaml = Command::new("python3");
        let script = "import sys\ntry: import yaml\nexcept ImportError: sys.exit(0)\n\
                      pod = yaml.safe_load(open(sys.argv[1]))\n\
                      assert pod['kind'] == 'Pod' and pod['spec']['hostNetwork'] is True";
        yaml.args(["-c", script]).arg(top().join("deploy/static-pod.yaml"));
        let outcome = run(yaml);
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
    }
}
