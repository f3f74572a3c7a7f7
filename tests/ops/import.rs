//! `mainstay import` on real files: what it writes passes `mainstay check`, NGINX and HAProxy
//! themselves take the files that it reads, and nothing is overwritten.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::command::{MAINSTAY, Outcome, install, mainstay, run};
use crate::support::{make_fifo, skipped};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/import")
}

fn import(dir: &Path, args: &[&str]) -> Outcome {
    mainstay(dir, &[&["import"], args].concat())
}

/// It ended with this code and one sentence that holds `part`, and wrote nothing else.
#[track_caller]
fn assert_ends(outcome: &Outcome, code: i32, part: &str) {
    assert_eq!(outcome.code, Some(code), "{outcome:?}");
    assert_eq!(outcome.out, "", "{outcome:?}");
    let last = outcome.err.lines().last().unwrap();
    assert!(last.starts_with("mainstay: ") && last.contains(part), "{outcome:?}");
}

#[test]
fn what_it_writes_passes_the_check() {
    let dir = tempfile::tempdir().unwrap();
    // The old balancer's host has the CA that its file names; the check opens it.
    let ca = dir.path().join("ca.crt");
    std::fs::write(&ca, rcgen::generate_simple_self_signed(Vec::new()).unwrap().cert.pem())
        .unwrap();
    for (file, section) in [
        ("walkthrough.nginx.conf", "kube_apiserver"),
        ("kubespray.nginx.conf", "kube_apiserver"),
        ("kubespray.haproxy.cfg", "kube_api_frontend"),
        ("kubeadm-guide.haproxy.cfg", "apiserver"),
        ("several.haproxy.cfg", "kube-blue"),
    ] {
        let text = std::fs::read_to_string(fixtures().join(file)).unwrap();
        let text = text.replace("/etc/kubernetes/pki/ca.crt", ca.to_str().unwrap());
        std::fs::write(dir.path().join(file), text).unwrap();
        let outcome = import(dir.path(), &[file, "--section", section]);
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        assert!(outcome.err.contains("not carried over:\n  line "), "{}", outcome.err);
        std::fs::write(dir.path().join("new.toml"), &outcome.out).unwrap();
        let check = mainstay(dir.path(), &["check", "--config", "new.toml"]);
        assert_eq!((check.code, check.err.as_str()), (Some(0), ""), "{file}: {}", outcome.out);
        assert!(check.out.contains("backends = [\""), "{}", check.out);
    }
}

#[test]
fn the_old_balancers_take_these_files() {
    let dir = tempfile::tempdir().unwrap();
    for file in ["walkthrough.nginx.conf", "kubespray.nginx.conf"] {
        if !Path::new("/usr/sbin/nginx").exists() {
            skipped("nginx is not installed");
            break;
        }
        let text = std::fs::read_to_string(fixtures().join(file)).unwrap();
        // NGINX binds the port when it tests; the kernel names one that is free.
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let text = text.replace("127.0.0.1:6443", &free.to_string());
        let text = text.replace("listen 6443", &format!("listen {free}"));
        let module = Path::new("/usr/lib/nginx/modules/ngx_stream_module.so");
        let load = if module.exists() && !text.contains("load_module") {
            format!("load_module {};\n", module.display())
        } else {
            String::new()
        };
        let path = dir.path().join(file);
        std::fs::write(&path, format!("{load}pid {}/pid;\n{text}", dir.path().display())).unwrap();
        let mut nginx = Command::new("/usr/sbin/nginx");
        nginx.args(["-t", "-e", "stderr", "-p"]).arg(dir.path()).arg("-c").arg(&path);
        let outcome = run(nginx);
        assert_eq!(outcome.code, Some(0), "{file}: {}", outcome.err);
    }
    for file in ["kubespray.haproxy.cfg", "kubeadm-guide.haproxy.cfg"] {
        if !Path::new("/usr/sbin/haproxy").exists() {
            skipped("haproxy is not installed");
            break;
        }
        let mut haproxy = Command::new("/usr/sbin/haproxy");
        haproxy.args(["-c", "-f"]).arg(fixtures().join(file));
        let outcome = run(haproxy);
        assert_eq!(outcome.code, Some(0), "{file}: {} {}", outcome.out, outcome.err);
    }
}

#[test]
fn a_file_is_written_once_and_never_replaced_silently() {
    let dir = tempfile::tempdir().unwrap();
    let from = fixtures().join("walkthrough.nginx.conf");
    let args = [from.to_str().unwrap(), "--out", "new.toml"];
    assert_ends(
        &import(dir.path(), &[&args[..], &["--check"]].concat()),
        1,
        "new.toml is not there",
    );
    let first = import(dir.path(), &args);
    assert_eq!((first.code, first.out.as_str()), (Some(0), ""));
    assert!(first.err.ends_with("new.toml written; try `mainstay check --config new.toml`\n"));
    let path = dir.path().join("new.toml");
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777 & !0o022, 0o644, "{mode:o}");

    let again = import(dir.path(), &args);
    assert!(again.code == Some(0) && again.err.ends_with("new.toml is like this already\n"));
    assert_eq!(import(dir.path(), &[&args[..], &["--check"]].concat()).code, Some(0));

    std::fs::write(&path, "mine").unwrap();
    assert_ends(&import(dir.path(), &args), 1, "new.toml is there already and differs; --force");
    assert_ends(&import(dir.path(), &[&args[..], &["--check"]].concat()), 1, "new.toml differs");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    assert_eq!(import(dir.path(), &[&args[..], &["--force"]].concat()).code, Some(0));
    assert!(std::fs::read_to_string(&path).unwrap().contains("backends"));
    let files = std::fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(files, 1, "nothing half-written is left");
}

#[test]
fn files_that_cannot_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| std::fs::write(dir.path().join(name), content).unwrap();
    file("empty", b"");
    file("binary", &[0x7f, b'E', b'L', b'F', 0, 1]);
    file("broken", b"stream {\n server {\n");
    file("huge", &vec![b'#'; 5 << 20]);
    file("many", "listen a\n".repeat(600).as_bytes());
    file("long", "listen a\n".repeat(200_000).as_bytes());
    let servers = "server 10.0.0.1:1 x;".repeat(20_000);
    let heavy = format!("upstream u {{ {servers} }} {}", "server { proxy_pass u; } ".repeat(40));
    file("heavy", heavy.as_bytes());
    file("good", b"stream { server { listen 6443; proxy_pass 10.0.0.1:6443; } }");
    assert_ends(&import(dir.path(), &["missing"]), 64, "there is no file missing");
    assert_ends(&import(dir.path(), &["."]), 64, ". is a directory, not a file");
    assert_ends(&import(dir.path(), &["empty"]), 64, "cannot import empty: there is nothing in it");
    assert_ends(&import(dir.path(), &["binary"]), 64, "cannot import binary: it is no text");
    assert_ends(
        &import(dir.path(), &["broken"]),
        64,
        "cannot import broken: line 2: the block `server`",
    );
    assert_ends(
        &import(dir.path(), &["huge"]),
        64,
        "huge is longer than 4 MiB; is it the right file?",
    );
    assert_ends(&import(dir.path(), &["many"]), 64, "it has more than 512 sections");
    assert_ends(&import(dir.path(), &["long"]), 64, "line 100001: the file is longer");
    assert_ends(&import(dir.path(), &["heavy"]), 64, "has more than 1024 servers");
    assert_ends(&import(dir.path(), &["good", "--section", "x"]), 64, "there is no section `x`");
    let no = import(dir.path(), &["good", "--out", "no/where/new.toml"]);
    assert_ends(&no, 1, "cannot write no/where/new.toml: No such file");
}

#[test]
fn a_file_of_somebody_else_is_refused_by_the_system() {
    if !rustix::process::geteuid().is_root() {
        return skipped("only root can give a file away");
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let secret = dir.path().join("secret.conf");
    std::fs::write(&secret, "stream { }").unwrap();
    std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).unwrap();
    let copy = dir.path().join("mainstay");
    install(Path::new(MAINSTAY), &copy);
    let mut nobody = Command::new("setpriv");
    nobody.args(["--reuid", "65534", "--clear-groups"]).arg(&copy).arg("import").arg(&secret);
    assert_ends(&run(nobody), 77, "secret.conf; run as root");
}

#[test]
fn pipes_are_read_and_devices_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let good = b"stream { server { listen 6443; proxy_pass 10.0.0.1:6443; } }";
    std::fs::write(dir.path().join("good"), good).unwrap();
    // The first line names the source.
    let body = |outcome: &Outcome| outcome.out.split_once('\n').map(|(_, body)| body.to_owned());
    let expected = body(&import(dir.path(), &["good"])).unwrap();
    assert!(expected.contains("10.0.0.1:6443"), "{expected}");
    for script in [
        "cat good | \"$0\" import -",
        "cat good | \"$0\" import /dev/stdin",
        "\"$0\" import - < good",
        "\"$0\" import <(sleep 0.1; cat good)",
        "mkfifo pipe && (sleep 0.1; cat good > pipe) & sleep 0.05; \"$0\" import pipe",
    ] {
        let mut bash = Command::new("bash");
        bash.args(["-c", script, MAINSTAY]).current_dir(dir.path());
        let outcome = run(bash);
        assert_eq!(body(&outcome).as_ref(), Some(&expected), "{script}: {outcome:?}");
    }
    make_fifo(&dir.path().join("nobody"));
    let nobody = "nobody is a pipe into which nobody writes";
    assert_ends(&import(dir.path(), &["nobody"]), 64, nobody);
    assert_ends(&import(dir.path(), &["/dev/zero"]), 64, "/dev/zero is no regular file");
    let out = import(dir.path(), &["good", "--out", "nobody"]);
    assert_ends(&out, 64, "nobody is no regular file");
}
