//! What kubeadm is told, by version.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use zeroize::Zeroizing;

use super::external_ca::ExternalCa;
use super::extra::Extra;
use crate::kubeadm::{
    ConfigFile, ConfigFileError, ControlPlaneEndpoint, GoawayChance, JoinFile, KubernetesVersion,
    Networking,
};

/// An apiserver that is told to stop goes on serving this long: more than the balancer needs to
/// notice, less than the 30 s after which its pod is killed.
const SHUTDOWN_DELAY: Duration = Duration::from_secs(20);

/// The share of requests after which a client connects anew; what the apiserver's help suggests.
const GOAWAY_CHANCE: &str = "0.001";

/// Release lines whose apiserver knows the two arguments.
const SHUTDOWN_DELAY_SINCE: u32 = 16;
const GOAWAY_SINCE: u32 = 18;

/// A run of kubeadm: a file to write, and the arguments that name it.
pub struct KubeadmCommand {
    /// Arguments; secret ones only if [`KubeadmCommand::secret_arguments`].
    pub arguments: Vec<Zeroizing<String>>,
    /// Content of the configuration file, if there is one.
    pub file: Option<Zeroizing<String>>,
    /// Whether a secret stands among the arguments, which nothing spares kubeadm 1.14.
    pub secret_arguments: bool,
}

impl KubeadmCommand {
    /// `kubeadm reset`; on a machine with two runtimes it must be told which.
    #[must_use]
    pub fn reset(extra: &Extra) -> Self {
        let mut arguments = texts(["reset", "--force"]);
        if let Some(socket) = &extra.node().cri_socket {
            arguments.extend(texts(["--cri-socket", socket]));
        }
        Self { arguments, file: None, secret_arguments: false }
    }

    /// The arguments to show: those that follow a secret's flag are withheld.
    #[must_use]
    pub fn shown(&self) -> String {
        let mut shown = vec!["kubeadm".to_owned()];
        let mut secret = false;
        for argument in &self.arguments {
            shown.push(if secret { "(withheld)".to_owned() } else { argument.to_string() });
            secret = matches!(argument.as_str(), "--token" | "--certificate-key");
        }
        shown.join(" ")
    }
}

/// `kubeadm init`.
#[derive(Clone, Debug)]
pub struct InitCommand {
    /// The installed kubeadm.
    pub kubeadm: KubernetesVersion,
    /// The balancer.
    pub endpoint: ControlPlaneEndpoint,
    /// Name of the node.
    pub node_name: String,
    /// Address of the apiserver; kubeadm finds it itself if `None`.
    pub advertise: Option<IpAddr>,
    /// Its port.
    pub port: u16,
    /// Networks.
    pub networking: Networking,
    /// Further names for the apiserver certificates.
    pub cert_sans: Vec<String>,
    /// CAs whose keys are not on this machine.
    pub external_ca: ExternalCa,
    /// Flags after `--`.
    pub extra: Extra,
}

impl InitCommand {
    /// The command, with a file at this path.
    ///
    /// # Errors
    /// [`ConfigFileError`]
    pub fn command(&self, file: &Path) -> Result<KubeadmCommand, ConfigFileError> {
        let (delay, chance) = recommended(&self.kubeadm)?;
        let content = ConfigFile {
            kubeadm: self.kubeadm.clone(),
            endpoint: self.endpoint.clone(),
            node_name: Some(self.node_name.clone()),
            node: self.extra.node().clone(),
            cert_sans: self.cert_sans.clone(),
            networking: self.networking.clone(),
            advertise: self.advertise,
            bind_port: Some(self.port),
            shutdown_delay: delay,
            goaway_chance: chance,
            control_plane_timeout: None,
            certificate_key: None,
        };
        let mut arguments = texts(["init", "--config", &file.to_string_lossy()]);
        if self.external_ca.lets_upload() {
            arguments.extend(texts([self.kubeadm.upload_certs_flag()]));
            // The first join uploads them anew, under a key of its own.
            arguments.extend(self.kubeadm.silent_key_flag().map(text));
        }
        arguments.extend(self.extra.flags().iter().cloned().map(Zeroizing::new));
        Ok(KubeadmCommand { arguments, file: Some(content.render()?), secret_arguments: false })
    }
}

/// The two arguments that let an apiserver leave the rotation quietly, where it knows them.
///
/// # Errors
/// None in practice: the chance is ours.
pub fn recommended(
    kubeadm: &KubernetesVersion,
) -> Result<(Option<Duration>, Option<GoawayChance>), ConfigFileError> {
    let delay = kubeadm.is_at_least(SHUTDOWN_DELAY_SINCE).then_some(SHUTDOWN_DELAY);
    let chance = kubeadm.is_at_least(GOAWAY_SINCE).then(|| GOAWAY_CHANCE.parse());
    Ok((delay, chance.transpose()?))
}

/// `kubeadm join` as a further master.
#[derive(Clone, Debug)]
pub struct JoinCommandLine<'a> {
    /// What kubeadm is told, in a file or as flags.
    pub join: JoinFile<'a>,
    /// Flags after `--`.
    pub extra: &'a Extra,
}

impl JoinCommandLine<'_> {
    /// The command, with a file at this path if this kubeadm can read the key from one.
    ///
    /// # Errors
    /// [`ConfigFileError`]
    pub fn command(&self, file: &Path) -> Result<KubeadmCommand, ConfigFileError> {
        self.join.kubeadm.config_api()?;
        let with_file = JoinFile::suits(self.join.kubeadm);
        let (mut arguments, content) = if with_file {
            (texts(["join", "--config", &file.to_string_lossy()]), Some(self.join.render()?))
        } else {
            (self.flags(), None)
        };
        arguments.extend(self.extra.flags().iter().cloned().map(Zeroizing::new));
        Ok(KubeadmCommand { arguments, file: content, secret_arguments: !with_file })
    }

    /// kubeadm 1.14: everything as flags, because it takes the key in no other way.
    fn flags(&self) -> Vec<Zeroizing<String>> {
        let join = &self.join;
        let mut flags = texts(["join", join.endpoint, "--token"]);
        flags.push(join.token.to_text());
        for pin in join.pins {
            flags.extend(texts(["--discovery-token-ca-cert-hash", &pin.to_string()]));
        }
        flags.extend(texts([join.kubeadm.control_plane_flag(), "--certificate-key"]));
        flags.push(join.certificate_key.to_hex());
        flags.extend(texts(["--node-name", join.node_name]));
        if let Some(address) = join.advertise {
            flags.extend(texts(["--apiserver-advertise-address", &address.to_string()]));
        }
        flags.extend(texts(["--apiserver-bind-port", &join.port.to_string()]));
        flags
    }
}

fn texts<const N: usize>(arguments: [&str; N]) -> Vec<Zeroizing<String>> {
    arguments.into_iter().map(text).collect()
}

fn text(argument: &str) -> Zeroizing<String> {
    Zeroizing::new(argument.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubeadm::NodeOptions;

    #[test]
    fn the_port_is_told_where_the_address_is_not_ours() {
        let command = InitCommand { advertise: None, port: 7443, ..init_command("v1.31.0") };
        let file = command.command(Path::new("/x/kubeadm-config.yaml")).unwrap().file.unwrap();
        assert!(file.contains("localAPIEndpoint:\n  bindPort: 7443\n"), "{}", *file);
    }

    fn init(version: &str) -> KubeadmCommand {
        init_command(version).command(Path::new("/x/kubeadm-config.yaml")).unwrap()
    }

    fn init_command(version: &str) -> InitCommand {
        InitCommand {
            kubeadm: version.parse().unwrap(),
            endpoint: "10.0.0.10:6443".parse().unwrap(),
            node_name: "master1".to_owned(),
            advertise: Some("10.0.0.11".parse().unwrap()),
            port: 6443,
            networking: Networking {
                pod_subnet: Some("10.244.0.0/16".into()),
                ..Networking::default()
            },
            cert_sans: Vec::new(),
            external_ca: ExternalCa::default(),
            extra: Extra::new(vec!["-v5".to_owned()], &version.parse().unwrap(), true).unwrap(),
        }
    }

    fn join(version: &str) -> KubeadmCommand {
        let join = JoinFile {
            kubeadm: &version.parse().unwrap(),
            endpoint: "10.0.0.10:6443",
            token: &"abcdef.0123456789abcdef".parse().unwrap(),
            pins: &[format!("sha256:{}", "ab".repeat(32)).parse().unwrap()],
            certificate_key: &"cd".repeat(32).parse().unwrap(),
            node_name: "master2",
            node: &NodeOptions::default(),
            advertise: Some("10.0.0.12".parse().unwrap()),
            port: 6443,
        };
        let line = JoinCommandLine { join, extra: &Extra::default() };
        line.command(Path::new("/x/join.yaml")).unwrap()
    }

    #[test]
    fn a_reset_is_told_the_runtime_too() {
        assert_eq!(KubeadmCommand::reset(&Extra::default()).shown(), "kubeadm reset --force");
        let flags = ["--cri-socket=/s".to_owned(), "-v5".to_owned()];
        let extra = Extra::new(flags.into(), &"1.31".parse().unwrap(), true).unwrap();
        let shown = KubeadmCommand::reset(&extra).shown();
        assert_eq!(shown, "kubeadm reset --force --cri-socket /s");
    }

    #[test]
    fn what_an_external_ca_signed_is_not_uploaded() {
        let external_ca = ExternalCa { front_proxy: true, ..ExternalCa::default() };
        let command = InitCommand { external_ca, ..init_command("v1.31.0") };
        let shown = command.command(Path::new("/x/f.yaml")).unwrap().shown();
        assert_eq!(shown, "kubeadm init --config /x/f.yaml -v5");
    }

    #[test]
    fn init_by_version() {
        for (version, api, upload, delay, chance) in [
            ("v1.14.10", "v1beta1", "--experimental-upload-certs", false, false),
            ("v1.15.0", "v1beta2", "--upload-certs --skip-certificate-key-print", false, false),
            ("v1.20.2", "v1beta2", "--upload-certs --skip-certificate-key-print", true, true),
            ("v1.22.0", "v1beta3", "--upload-certs --skip-certificate-key-print", true, true),
            ("v1.36.2", "v1beta4", "--upload-certs --skip-certificate-key-print", true, true),
        ] {
            let command = init(version);
            assert_eq!(
                command.shown(),
                format!("kubeadm init --config /x/kubeadm-config.yaml {upload} -v5")
            );
            let file = command.file.unwrap();
            assert!(file.contains(&format!("apiVersion: kubeadm.k8s.io/{api}\n")), "{}", *file);
            assert!(file.contains("controlPlaneEndpoint: \"10.0.0.10:6443\"\n"));
            assert!(file.contains("nodeRegistration:\n  name: \"master1\"\n"), "{}", *file);
            assert_eq!(file.contains("shutdown-delay-duration"), delay, "{version}");
            assert_eq!(file.contains("goaway-chance"), chance, "{version}");
        }
    }

    #[test]
    fn join_keeps_its_secrets_off_the_command_line() {
        for version in ["v1.15.0", "v1.20.2", "v1.29.1", "v1.36.2"] {
            let command = join(version);
            assert_eq!(command.shown(), "kubeadm join --config /x/join.yaml");
            assert!(!command.secret_arguments);
            assert!(command.file.unwrap().contains(&"cd".repeat(32)));
        }
        let command = join("v1.14.10");
        assert!(command.secret_arguments && command.file.is_none());
        let line: Vec<&str> = command.arguments.iter().map(|it| it.as_str()).collect();
        let pin = format!("sha256:{}", "ab".repeat(32));
        let key = "cd".repeat(32);
        let expected = format!(
            "join 10.0.0.10:6443 --token abcdef.0123456789abcdef --discovery-token-ca-cert-hash \
             {pin} --experimental-control-plane --certificate-key {key} --node-name master2 \
             --apiserver-advertise-address 10.0.0.12 --apiserver-bind-port 6443"
        );
        assert_eq!(line.join(" "), expected);
        let shown = command.shown();
        assert!(!shown.contains(&key) && !shown.contains("0123456789abcdef"), "{shown}");
    }
}
