//! A configuration file for `kubeadm join` as a further master. It carries the token and the
//! certificate key, so that neither stands on a command line, which everybody on the machine sees.

use std::net::IpAddr;

use zeroize::Zeroizing;

use super::ca_pin::CaPin;
use super::config_file::ConfigFileError;
use super::key::CertificateKey;
use super::node_options::NodeOptions;
use super::token::BootstrapToken;
use super::version::{ConfigApi, KubernetesVersion};
use super::yaml::Yaml;

/// What goes into the file.
#[derive(Debug, Clone)]
pub struct JoinFile<'a> {
    /// The kubeadm that will read the file.
    pub kubeadm: &'a KubernetesVersion,
    /// `HOST:PORT` of the control plane.
    pub endpoint: &'a str,
    /// kubeadm's bootstrap token.
    pub token: &'a BootstrapToken,
    /// Pins of the cluster's CAs; kubeadm up to 1.21.0 looks at the first only.
    pub pins: &'a [CaPin],
    /// Key of the uploaded certificates.
    pub certificate_key: &'a CertificateKey,
    /// Name of the node.
    pub node_name: &'a str,
    /// More about the node.
    pub node: &'a NodeOptions,
    /// Address of the new apiserver; kubeadm finds it itself if `None`.
    pub advertise: Option<IpAddr>,
    /// Port of the new apiserver.
    pub port: u16,
}

impl JoinFile<'_> {
    /// Whether this kubeadm reads the certificate key from a file; 1.14 has no place for it.
    #[must_use]
    pub fn suits(kubeadm: &KubernetesVersion) -> bool {
        kubeadm.config_api().is_ok_and(|api| api > ConfigApi::V1beta1)
    }

    /// The file as YAML. It holds two secrets.
    ///
    /// # Errors
    /// [`ConfigFileError`] if this kubeadm cannot read such a file.
    pub fn render(&self) -> Result<Zeroizing<String>, ConfigFileError> {
        let api = self.kubeadm.config_api()?;
        if !Self::suits(self.kubeadm) {
            return Err(ConfigFileError::NoCertificateKey);
        }
        let mut yaml = Yaml::new();
        yaml.field(0, "apiVersion", api.api_version());
        yaml.field(0, "kind", "JoinConfiguration");
        self.node.write(&mut yaml, api, Some(self.node_name))?;
        yaml.line(0, "discovery:");
        yaml.line(2, "bootstrapToken:");
        yaml.quoted(4, "token", &self.token.to_text());
        yaml.quoted(4, "apiServerEndpoint", self.endpoint);
        yaml.line(4, "caCertHashes:");
        for pin in self.pins {
            yaml.line(4, &format!("- \"{pin}\""));
        }
        yaml.line(0, "controlPlane:");
        yaml.quoted(2, "certificateKey", &self.certificate_key.to_hex());
        yaml.line(2, "localAPIEndpoint:");
        if let Some(address) = self.advertise {
            yaml.quoted(4, "advertiseAddress", &address.to_string());
        }
        yaml.field(4, "bindPort", &self.port.to_string());
        Ok(yaml.into_text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(version: &str) -> Result<String, ConfigFileError> {
        let kubeadm: KubernetesVersion = version.parse().unwrap();
        let token = "abcdef.0123456789abcdef".parse().unwrap();
        let pins = [format!("sha256:{}", "ab".repeat(32)).parse().unwrap()];
        let file = JoinFile {
            kubeadm: &kubeadm,
            endpoint: "10.0.0.10:6443",
            token: &token,
            pins: &pins,
            certificate_key: &"cd".repeat(32).parse().unwrap(),
            node_name: "master2",
            node: &NodeOptions::default(),
            advertise: Some("fd00::2".parse().unwrap()),
            port: 6443,
        };
        file.render().map(|text| text.as_str().to_owned())
    }

    #[test]
    fn each_format_since_v1beta2_carries_the_key() {
        for (version, api) in [
            ("1.15", "v1beta2"),
            ("v1.20.2", "v1beta2"),
            ("1.22", "v1beta3"),
            ("1.30", "v1beta3"),
            ("1.31", "v1beta4"),
            ("v1.36.2", "v1beta4"),
        ] {
            let text = rendered(version).unwrap();
            let (pin, key) = ("ab".repeat(32), "cd".repeat(32));
            let expected = format!(
                "apiVersion: kubeadm.k8s.io/{api}\nkind: JoinConfiguration\nnodeRegistration:\n  \
                 name: \"master2\"\ndiscovery:\n  bootstrapToken:\n    token: \
                 \"abcdef.0123456789abcdef\"\n    apiServerEndpoint: \"10.0.0.10:6443\"\n    \
                 caCertHashes:\n    - \"sha256:{pin}\"\ncontrolPlane:\n  certificateKey: \
                 \"{key}\"\n  localAPIEndpoint:\n    advertiseAddress: \"fd00::2\"\n    bindPort: \
                 6443\n"
            );
            assert_eq!(text, expected, "{version}");
        }
    }

    #[test]
    fn the_key_has_no_place_in_1_14() {
        assert_eq!(rendered("1.14"), Err(ConfigFileError::NoCertificateKey));
        assert!(matches!(rendered("1.13"), Err(ConfigFileError::Version(_))));
    }
}
