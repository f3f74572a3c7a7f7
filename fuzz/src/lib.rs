//! What takes input from outside, each as a function of bytes that must return whatever they are.
//!
//! One table for two drivers: `cargo test -p mainstay-fuzz` on a stable compiler, which mutates the
//! inputs of `corpora/` ([`mutate`]), and cargo-fuzz (`libfuzzer/main.rs`), which watches the code
//! that runs. A target asserts what must hold for any input and says nothing otherwise.

#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a target may panic: that is how it says what is wrong"
)]

mod balancer;
mod configuration;
mod handover;
mod joins;
mod kubeadm;
mod members;
pub mod mutate;
mod words;

#[allow(dead_code, reason = "the program's own module, of which a part is called here")]
#[path = "../../src/import/mod.rs"]
mod import;

/// One thing that takes input.
#[derive(Debug)]
pub struct Target {
    /// Its name, also that of its directory in `corpora/`.
    pub name: &'static str,
    /// Takes the input.
    pub run: fn(&[u8]),
    /// Files of `tests/fixtures/` that are good inputs too.
    pub fixtures: &'static [&'static str],
}

const fn target(name: &'static str, run: fn(&[u8]), fixtures: &'static [&'static str]) -> Target {
    Target { name, run, fixtures }
}

/// All of them.
pub const TARGETS: &[Target] = &[
    target("certificate_key", kubeadm::certificate_key, &[]),
    target("client_hello", balancer::client_hello, &[]),
    target("configuration", configuration::mainstay_toml, &[]),
    target("handover", handover::frames, &[]),
    target("health_judge", balancer::health_judge, &[]),
    target(
        "import",
        configuration::import_any,
        &[
            "import/kubeadm-guide.haproxy.cfg",
            "import/kubespray.haproxy.cfg",
            "import/kubespray.nginx.conf",
            "import/several.haproxy.cfg",
            "import/walkthrough.nginx.conf",
        ],
    ),
    target("join_requests", joins::requests, &[]),
    target("join_turns", joins::turns, &[]),
    target(
        "kubeconfig",
        kubeadm::kubeconfig,
        &[
            "kubeadm-1.36/cluster-info.configmap.json",
            "kubeadm-1.36/kubeadm-config.configmap.json",
            "kubeadm-1.36/kubeadm-config.yaml",
            "vectors/cluster-info.kubeconfig",
        ],
    ),
    target(
        "listing",
        members::listing,
        &["kubeadm-1.20/kubernetes.endpoints.3.json", "kubeadm-1.36/kubernetes.endpoints.json"],
    ),
    target("members_merge", members::merge, &[]),
    target("probe_answer", balancer::probe_answer, &["kubeadm-1.36/secret-anonymous-403.http"]),
    target("secret", kubeadm::secret, &["kubeadm-1.36/kubeadm-certs.secret.json"]),
    target("state_files", members::state_files, &[]),
    target("ticket", joins::ticket, &[]),
    target("token", kubeadm::token, &[]),
];

/// The target of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
