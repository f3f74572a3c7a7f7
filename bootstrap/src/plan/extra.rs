//! The flags for kubeadm that stand after `--`. Beside a configuration file kubeadm takes only a
//! few (`isAllowedFlag` in its validation); to say so here is kinder than to fail in the middle. The
//! container runtime's socket and the patches go where this kubeadm takes them.

use crate::kubeadm::{KubernetesVersion, NodeOptions};

/// Flags that every kubeadm takes beside `--config`, whatever their values; `skip-…` too.
const BESIDE_CONFIG: [&str; 5] =
    ["ignore-preflight-errors", "kubeconfig", "kubeconfig-dir", "rootfs", "v"];

/// The container runtime's socket. It has a place in every file, and kubeadm 1.22 and later refuse
/// the flag beside one.
const CRI_SOCKET: &str = "cri-socket";

/// A directory of patches: the flag of 1.22 and later, which refuse it beside a file, and that of
/// 1.19 to 1.21, which take it from nowhere else.
const PATCHES: [&str; 2] = ["patches", "experimental-patches"];

/// Flags for which there is a place.
const TO_FILE: [&str; 3] = [CRI_SOCKET, PATCHES[0], PATCHES[1]];

/// First release line that knows patches.
const PATCHES_SINCE: u32 = 19;

/// Flags that we set ourselves, and what to give to us instead.
const OURS: [(&str, &str); 20] = [
    ("config", "Mainstay writes the configuration file"),
    ("dry-run", "give --dry-run before the `--`"),
    ("node-name", "give --node-name before the `--`"),
    ("apiserver-advertise-address", "give --advertise-address before the `--`"),
    ("apiserver-bind-port", "give --apiserver-port before the `--`"),
    ("control-plane-endpoint", "give --endpoint before the `--`"),
    ("pod-network-cidr", "give --pod-subnet before the `--`"),
    ("service-cidr", "give --service-subnet before the `--`"),
    ("service-dns-domain", "give --dns-domain before the `--`"),
    ("apiserver-cert-extra-sans", "give --cert-san before the `--`"),
    ("upload-certs", "Mainstay sets it"),
    ("experimental-upload-certs", "Mainstay sets it"),
    ("control-plane", "Mainstay sets it"),
    ("experimental-control-plane", "Mainstay sets it"),
    ("certificate-key", "the coordinator hands out a new key for each join"),
    ("token", "the coordinator hands out a new token for each join"),
    ("tls-bootstrap-token", "the coordinator hands out a new token for each join"),
    ("discovery-token", "the coordinator hands out a new token for each join"),
    ("discovery-token-ca-cert-hash", "the coordinator hands out the hashes"),
    ("discovery-file", "the coordinator hands out what discovery needs"),
];

/// Checked flags for kubeadm.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extra {
    flags: Vec<String>,
    node: NodeOptions,
}

impl Extra {
    /// Checks the flags for this kubeadm; `config` says that it will get a configuration file, into
    /// which goes what it does not take beside one.
    ///
    /// # Errors
    /// [`ExtraError`]
    pub fn new(
        flags: Vec<String>,
        kubeadm: &KubernetesVersion,
        config: bool,
    ) -> Result<Self, ExtraError> {
        let mut extra = Self::default();
        let mut rest = flags.into_iter().peekable();
        while let Some(flag) = rest.next() {
            let Some(name) = name(&flag) else { return Err(ExtraError::NoFlag { text: flag }) };
            check(&name, config)?;
            let inline = flag.split_once('=').map(|(_, value)| value.to_owned());
            let next = rest.next_if(|it| inline.is_none() && !it.starts_with('-'));
            let value = inline.or_else(|| next.clone());
            let place = Place::of(&name, kubeadm, config)?;
            match (place, value) {
                (Place::Flags, _) => extra.flags.extend(std::iter::once(flag).chain(next)),
                (_, None) => return Err(ExtraError::NoValue { name }),
                (Place::CriSocket, value) => {
                    extra.node.cri_socket = value;
                    if !config {
                        extra.flags.extend(std::iter::once(flag).chain(next));
                    }
                }
                (Place::Patches, value) => extra.node.patches = value,
                (Place::OldPatches, Some(directory)) => {
                    extra.flags.extend(["--experimental-patches".to_owned(), directory]);
                }
            }
        }
        Ok(extra)
    }

    /// The flags that kubeadm gets, in their order.
    #[must_use]
    pub fn flags(&self) -> &[String] {
        &self.flags
    }

    /// What goes into its file.
    #[must_use]
    pub fn node(&self) -> &NodeOptions {
        &self.node
    }
}

/// Where a flag goes.
enum Place {
    Flags,
    /// Into the file, or to the flags if there is none.
    CriSocket,
    Patches,
    OldPatches,
}

impl Place {
    fn of(name: &str, kubeadm: &KubernetesVersion, config: bool) -> Result<Self, ExtraError> {
        if name == CRI_SOCKET {
            return Ok(Self::CriSocket);
        }
        if !PATCHES.contains(&name) {
            return Ok(Self::Flags);
        }
        if !kubeadm.is_at_least(PATCHES_SINCE) {
            return Err(ExtraError::NoPatches { kubeadm: kubeadm.clone() });
        }
        Ok(if config && NodeOptions::has_patches(kubeadm) {
            Self::Patches
        } else {
            Self::OldPatches
        })
    }
}

fn check(name: &str, config: bool) -> Result<(), ExtraError> {
    if let Some((_, instead)) = OURS.iter().find(|(ours, _)| *ours == name) {
        return Err(ExtraError::Ours { name: name.to_owned(), instead });
    }
    let taken = BESIDE_CONFIG.contains(&name) || TO_FILE.contains(&name);
    if config && !taken && !name.starts_with("skip-") {
        return Err(ExtraError::NotBesideConfig { name: name.to_owned() });
    }
    Ok(())
}

/// The name of a flag; `-v5` is `v`.
fn name(text: &str) -> Option<String> {
    if let Some(long) = text.strip_prefix("--") {
        let name = long.split('=').next().unwrap_or_default();
        return (!name.is_empty()).then(|| name.to_owned());
    }
    let short = text.strip_prefix('-')?.chars().next()?;
    Some(short.to_string())
}

/// The flags that may stand after `--`, for people.
fn allowed() -> String {
    let flags = BESIDE_CONFIG.iter().chain(&TO_FILE[..2]).map(|flag| format!("--{flag}"));
    flags.chain(["--skip-…".to_owned()]).collect::<Vec<_>>().join(", ")
}

/// Why kubeadm cannot be given these flags. Wrong input.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExtraError {
    /// One that we set.
    #[error("--{name} is not for kubeadm here: {instead}")]
    Ours {
        /// The flag.
        name: String,
        /// What to do instead.
        instead: &'static str,
    },
    /// kubeadm would refuse it.
    #[error(
        "kubeadm takes no --{name} beside a configuration file (\"can not mix '--config' with \
         arguments\"); after `--` stand {}",
        allowed()
    )]
    NotBesideConfig {
        /// The flag.
        name: String,
    },
    /// A value was expected.
    #[error("--{name} after `--` needs a value")]
    NoValue {
        /// The flag.
        name: String,
    },
    /// Too old for it.
    #[error("kubeadm {kubeadm} knows no patches; they came with 1.19")]
    NoPatches {
        /// The installed one.
        kubeadm: KubernetesVersion,
    },
    /// Not a flag at all.
    #[error("`{text}` after `--` is no flag of kubeadm; flags begin with `-`")]
    NoFlag {
        /// The text.
        text: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extra(text: &str, kubeadm: &str, config: bool) -> Result<Extra, ExtraError> {
        let flags = text.split_whitespace().map(str::to_owned).collect();
        Extra::new(flags, &kubeadm.parse().unwrap(), config)
    }

    #[test]
    fn what_kubeadm_takes_beside_a_file_passes() {
        for text in [
            "",
            "-v5",
            "-v 5 --kubeconfig=/x",
            "--ignore-preflight-errors=all --skip-phases=addon/kube-proxy --skip-token-print",
        ] {
            for version in ["v1.14.10", "v1.20.2", "v1.36.2"] {
                let extra = extra(text, version, true).unwrap();
                assert_eq!(extra.flags().join(" "), text);
                assert_eq!(*extra.node(), NodeOptions::default());
            }
        }
    }

    /// Flags, version, whether there is a file; what stays a flag, and the socket and the patches
    /// in the file.
    type Row = (&'static str, &'static str, bool, &'static str, [Option<&'static str>; 2]);
    const PLACES: &[Row] = &[
        ("--cri-socket /s -v5", "1.14", true, "-v5", [Some("/s"), None]),
        ("--cri-socket=/s -v5", "1.36", true, "-v5", [Some("/s"), None]),
        ("--cri-socket /s", "1.14", false, "--cri-socket /s", [Some("/s"), None]),
        ("--patches /p", "1.19", true, "--experimental-patches /p", [None, None]),
        ("--patches=/p -v5", "1.21", true, "--experimental-patches /p -v5", [None, None]),
        ("--experimental-patches=/p", "1.22", true, "", [None, Some("/p")]),
        ("-v5 --patches /p --cri-socket /s", "1.36", true, "-v5", [Some("/s"), Some("/p")]),
    ];

    #[test]
    fn runtime_and_patches_go_where_this_kubeadm_takes_them() {
        for (text, version, config, flags, [socket, patches]) in PLACES {
            let extra = extra(text, version, *config).unwrap();
            assert_eq!(extra.flags().join(" "), *flags, "{text} {version}");
            assert_eq!(extra.node().cri_socket.as_deref(), *socket, "{text} {version}");
            assert_eq!(extra.node().patches.as_deref(), *patches, "{text} {version}");
        }
        for (text, version, needle) in [
            ("--patches /p", "1.18", "came with 1.19"),
            ("--patches -v5", "1.31", "--patches after `--` needs a value"),
            ("--cri-socket", "1.31", "needs a value"),
        ] {
            let error = extra(text, version, true).unwrap_err().to_string();
            assert!(error.contains(needle), "{error}");
        }
    }

    #[test]
    fn what_it_would_refuse_is_refused_before() {
        let error = extra("--feature-gates X=true", "1.31", true).unwrap_err().to_string();
        assert!(error.contains("can not mix '--config'"), "{error}");
        assert!(error.ends_with("--v, --cri-socket, --patches, --skip-…"), "{error}");
        assert!(extra("--feature-gates X=true", "1.14", false).is_ok(), "1.14 gets no file");
        for (name, instead) in OURS {
            for config in [true, false] {
                let text = format!("--{name}=x");
                assert_eq!(
                    extra(&text, "1.31", config).unwrap_err(),
                    ExtraError::Ours { name: name.to_owned(), instead }
                );
            }
        }
        let error = extra("10.0.0.1:6443", "1.31", true).unwrap_err();
        assert!(error.to_string().contains("no flag"), "{error}");
        assert!(extra("--v=5 stray", "1.31", true).is_err());
    }
}
