//! The flags that `serve` and `check` share: where the configuration comes from and what overrides
//! it.

use std::path::PathBuf;

use clap::Args;
use common::OwnAddresses;
use common::config::{Config, ConfigError, Layers, Value};

use crate::exit::Stop;

/// Where the configuration comes from. Flags override the file.
#[derive(Args, Clone, Debug)]
#[allow(
    rustdoc::broken_intra_doc_links,
    reason = "`[::]` is an address; clap shows the text as it stands, so it cannot be escaped"
)]
pub(crate) struct ConfigOptions {
    /// Configuration file [default: /etc/mainstay/mainstay.toml, if it exists].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Address to accept clients on; repeat for several [default: [::]:6443].
    #[arg(long, value_name = "ADDR")]
    listen: Vec<String>,

    /// A master, as IP, IP:PORT or NAME=IP:PORT; repeat for each.
    #[arg(long, value_name = "ADDR")]
    backend: Vec<String>,

    /// How backends are questioned: https for apiservers, tcp for anything else [default: https].
    #[arg(long, value_name = "KIND")]
    probe: Option<String>,

    /// PEM file with the cluster's CA; probes then refuse apiservers of another cluster.
    #[arg(long, value_name = "FILE")]
    cluster_ca: Option<String>,

    /// Keep the port open while no backend serves.
    #[arg(long)]
    listen_when_empty: bool,

    /// Where /livez, /readyz, /metrics and /v1/status answer: IP:PORT or unix:PATH
    /// [default: 127.0.0.1:6446].
    #[arg(long, value_name = "ADDR")]
    admin: Option<String>,

    /// Where masters register and join: IP:PORT, or off [default: [::]:6445].
    #[arg(long, value_name = "ADDR")]
    join_listen: Option<String>,

    /// Directory for what must survive a restart [default: /var/lib/mainstay].
    #[arg(long, value_name = "DIR")]
    state_dir: Option<String>,

    /// How log lines look: auto, text or json [default: auto].
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,

    /// Least important level that is logged: error, warn, info, debug or trace [default: info].
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
}

impl ConfigOptions {
    /// The raw settings: defaults, file and flags.
    pub(crate) fn layers(&self) -> Result<Layers, ConfigError> {
        let mut layers = Layers::from_file(self.config.as_deref())?;
        let lists = [("--listen", &self.listen), ("--backend", &self.backend)];
        for (flag, items) in lists {
            if !items.is_empty() {
                layers.set_flag(flag, Value::List(items.clone()));
            }
        }
        let texts = [
            ("--probe", &self.probe),
            ("--cluster-ca", &self.cluster_ca),
            ("--admin", &self.admin),
            ("--join-listen", &self.join_listen),
            ("--state-dir", &self.state_dir),
            ("--log-format", &self.log_format),
            ("--log-level", &self.log_level),
        ];
        for (flag, text) in texts {
            if let Some(text) = text {
                layers.set_flag(flag, Value::Text(text.clone()));
            }
        }
        if self.listen_when_empty {
            layers.set_flag("--listen-when-empty", Value::Switch(true));
        }
        Ok(layers)
    }

    /// The raw settings and what they mean; a wrong one ends the program with its sentence.
    pub(crate) fn load(&self) -> anyhow::Result<(Layers, Config)> {
        Ok(self.read().map_err(Stop::usage)?)
    }

    /// As [`ConfigOptions::load`], for a program that goes on with what it had if this says why not.
    pub(crate) fn read(&self) -> Result<(Layers, Config), String> {
        let layers = self.layers().map_err(|error| error.to_string())?;
        let config = Config::checked(&layers).map_err(|error| error.to_string())?;
        no_loop(&config)?;
        Ok((layers, config))
    }
}

/// Whether no backend is this machine itself; else one sentence.
fn no_loop(config: &Config) -> Result<(), String> {
    // Where the kernel does not tell, what was checked without it must do.
    let own = OwnAddresses::read().unwrap_or_default();
    match config.loops(&own) {
        Some(member) => Err(format!(
            "backends: `{}` is an address of this host, where we listen ourselves: a loop",
            member.addr
        )),
        None => Ok(()),
    }
}
