//! The image: what the last stage of the Containerfile makes starts in an empty root, as nobody, with
//! nothing but its defaults.

use std::process::Command;

use super::package::{has, top};
use crate::support::command::{MAINSTAY, run};
use crate::support::skipped;

#[test]
fn the_image_starts_as_nobody_in_an_empty_root() {
    let tools = ["buildah", "unshare", "strip", "ldd", "curl", "ip"];
    if !rustix::process::geteuid().is_root() || !tools.iter().all(|tool| has(tool)) {
        return skipped("needs root and buildah");
    }
    let dir = tempfile::tempdir().unwrap();
    let namespaces = ["-m", "-n", "-p", "--kill-child", "--fork", "sh"];
    let mut able = Command::new("unshare");
    able.args(namespaces).args(["-c", "mount -t tmpfs t $0 && chroot / true"]).arg(dir.path());
    if run(able).code != Some(0) {
        return skipped("this machine does not let us mount or change the root");
    }
    let mut life = Command::new("unshare");
    life.args(namespaces).arg(top().join("tests/ops/image.sh")).arg(dir.path());
    life.arg(MAINSTAY).arg(top().join("deploy/Containerfile"));
    let outcome = run(life);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(outcome.out.ends_with("== done\n"), "{outcome:?}");
    for line in ["user 65534:65534, runs [/mainstay] [serve]", "livez: ok", "uid 65534"] {
        assert!(outcome.out.lines().any(|said| said == line), "{line} in {outcome:?}");
    }
}
