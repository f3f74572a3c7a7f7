//! The flags for kubeadm that stand after `--`. Beside a configuration file kubeadm takes only a
//! few (`isAllowedFlag` in its validation); to say so here is kinder than to fail in the middle.

/// Flags that kubeadm takes beside `--config`, whatever their values; `skip-…` too.
const BESIDE_CONFIG: [&str; 9] = [
    "ignore-preflight-errors",
    "kubeconfig",
    "cri-socket",
    "kubeconfig-dir",
    "patches",
    "experimental-patches",
    "rootfs",
    "print-join-command",
    "v",
];

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
pub struct Extra(Vec<String>);

impl Extra {
    /// Checks the flags; `config` says that kubeadm will get a configuration file.
    ///
    /// # Errors
    /// [`ExtraError`]
    pub fn new(flags: Vec<String>, config: bool) -> Result<Self, ExtraError> {
        for (index, flag) in flags.iter().enumerate() {
            let after_flag = index > 0 && flags.get(index - 1).is_some_and(|it| takes_value(it));
            match name(flag) {
                Some(name) => check(&name, config)?,
                None if after_flag => {}
                None => return Err(ExtraError::NoFlag { text: flag.clone() }),
            }
        }
        Ok(Self(flags))
    }

    /// The flags, as given.
    #[must_use]
    pub fn flags(&self) -> &[String] {
        &self.0
    }
}

fn check(name: &str, config: bool) -> Result<(), ExtraError> {
    if let Some((_, instead)) = OURS.iter().find(|(ours, _)| *ours == name) {
        return Err(ExtraError::Ours { name: name.to_owned(), instead });
    }
    if config && !BESIDE_CONFIG.contains(&name) && !name.starts_with("skip-") {
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

/// Whether the next argument may be the value of this one.
fn takes_value(flag: &str) -> bool {
    flag.starts_with('-') && !flag.contains('=')
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
         arguments\"); after `--` it takes {}", BESIDE_CONFIG.map(|flag| format!("--{flag}")).join(", ")
    )]
    NotBesideConfig {
        /// The flag.
        name: String,
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

    fn extra(text: &str, config: bool) -> Result<Extra, ExtraError> {
        Extra::new(text.split_whitespace().map(str::to_owned).collect(), config)
    }

    #[test]
    fn what_kubeadm_takes_beside_a_file_passes() {
        for text in [
            "",
            "-v5",
            "--v=5 --cri-socket unix:///run/containerd/containerd.sock",
            "--ignore-preflight-errors=all --skip-phases=addon/kube-proxy --skip-token-print",
            "--patches /etc/kubeadm/patches",
        ] {
            assert_eq!(extra(text, true).unwrap().flags().len(), text.split_whitespace().count());
        }
    }

    #[test]
    fn what_it_would_refuse_is_refused_before() {
        let error = extra("--feature-gates X=true", true).unwrap_err();
        assert!(error.to_string().contains("can not mix '--config'"), "{error}");
        assert!(extra("--feature-gates X=true", false).is_ok(), "1.14 gets no file");
        for (name, instead) in OURS {
            for config in [true, false] {
                let text = format!("--{name}=x");
                assert_eq!(
                    extra(&text, config).unwrap_err(),
                    ExtraError::Ours { name: name.to_owned(), instead }
                );
            }
        }
        let error = extra("10.0.0.1:6443", true).unwrap_err();
        assert!(error.to_string().contains("no flag"), "{error}");
        assert!(extra("--v=5 stray", true).is_err());
    }
}
