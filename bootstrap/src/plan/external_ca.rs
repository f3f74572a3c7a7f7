//! CAs whose keys are elsewhere. kubeadm then signs nothing with them, expects what they signed to be
//! there before, and refuses to upload certificates.

use std::path::Path;

/// Which of kubeadm's CAs are external: the certificate is there and its key is not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExternalCa {
    /// That of the cluster. `admin.conf` and `kubelet.conf` must be there before `kubeadm init`.
    pub cluster: bool,
    /// That of the front proxy.
    pub front_proxy: bool,
}

impl ExternalCa {
    /// Looks below kubeadm's directory, usually `/etc/kubernetes`.
    #[must_use]
    pub fn look(directory: &Path) -> Self {
        let external = |name: &str| {
            let there = |end| directory.join("pki").join(format!("{name}.{end}")).exists();
            there("crt") && !there("key")
        };
        Self { cluster: external("ca"), front_proxy: external("front-proxy-ca") }
    }

    /// Whether `kubeadm init` takes `--upload-certs`.
    #[must_use]
    pub fn lets_upload(self) -> bool {
        !self.cluster && !self.front_proxy
    }
}

/// Whether there are CAs below kubeadm's directory, or the key of service accounts: what kubeadm would
/// make anew, and not the same.
#[must_use]
pub fn has_authorities(directory: &Path) -> bool {
    let mut files = ["ca.crt", "front-proxy-ca.crt", "etcd/ca.crt", "sa.key"].into_iter();
    files.any(|file| directory.join("pki").join(file).exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_found() {
        for (file, expected) in [("sa.key", true), ("etcd/ca.crt", true), ("apiserver.crt", false)]
        {
            let temp = tempfile::tempdir().unwrap();
            assert!(!has_authorities(temp.path()));
            let path = temp.path().join("pki").join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
            assert_eq!(has_authorities(temp.path()), expected, "{file}");
        }
    }

    #[test]
    fn a_certificate_without_its_key_is_of_an_external_ca() {
        let temp = tempfile::tempdir().unwrap();
        assert!(ExternalCa::look(temp.path()).lets_upload(), "kubeadm will make both");
        std::fs::create_dir(temp.path().join("pki")).unwrap();
        let put = |name: &str| std::fs::write(temp.path().join("pki").join(name), "").unwrap();
        for (file, cluster, front_proxy) in [
            ("ca.crt", true, false),
            ("front-proxy-ca.crt", true, true),
            ("ca.key", false, true),
            ("front-proxy-ca.key", false, false),
        ] {
            put(file);
            let external = ExternalCa::look(temp.path());
            assert_eq!(external, ExternalCa { cluster, front_proxy }, "{file}");
            assert_eq!(external.lets_upload(), !cluster && !front_proxy);
        }
    }
}
