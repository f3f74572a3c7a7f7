//! Fills in the committed configurations of `bench/peers`. They are plain files with `{{names}}`,
//! so that anyone who doubts the comparison can read what was compared.

use std::{net::SocketAddr, path::Path};

use anyhow::{Result, bail};

/// What a configuration may ask for.
pub(super) struct Values<'a> {
    /// Where the proxy listens.
    pub(super) listen: SocketAddr,
    /// Where its own administration listens, if it must.
    pub(super) admin: SocketAddr,
    /// The backends; a line that names one is repeated for each.
    pub(super) backends: &'a [SocketAddr],
    /// A directory of its own.
    pub(super) dir: &'a Path,
    /// Descriptors it may open.
    pub(super) descriptors: u64,
    /// The line that loads NGINX's stream module.
    pub(super) load_module: String,
    /// HAProxy's option, or nothing.
    pub(super) splice: &'static str,
}

/// Descriptors a proxy needs beside those of its sessions.
const SPARE_DESCRIPTORS: u64 = 1000;

/// The text of `template` with all names filled in. A name that nobody knows is an error.
pub(super) fn fill(template: &str, values: &Values<'_>) -> Result<String> {
    let mut text = String::new();
    for line in template.lines() {
        if line.contains("{{backend") {
            for (index, backend) in values.backends.iter().enumerate() {
                let line = line
                    .replace("{{backend}}", &backend.to_string())
                    .replace("{{backend_host}}", &backend.ip().to_string())
                    .replace("{{backend_port}}", &backend.port().to_string())
                    .replace("{{index}}", &index.to_string());
                text.push_str(&line);
                text.push('\n');
            }
        } else {
            text.push_str(&fill_line(line, values));
            text.push('\n');
        }
    }
    match text.split_once("{{") {
        Some((_, rest)) => bail!("nobody knows the name {:?}", rest.split("}}").next()),
        None => Ok(text),
    }
}

fn fill_line(line: &str, values: &Values<'_>) -> String {
    let sessions = values.descriptors.saturating_sub(SPARE_DESCRIPTORS) / 2;
    line.replace("{{listen}}", &values.listen.to_string())
        .replace("{{listen_host}}", &values.listen.ip().to_string())
        .replace("{{listen_port}}", &values.listen.port().to_string())
        .replace("{{admin}}", &values.admin.to_string())
        .replace("{{dir}}", &values.dir.display().to_string())
        .replace("{{descriptors}}", &values.descriptors.to_string())
        .replace("{{sessions}}", &sessions.to_string())
        .replace("{{load_module}}", &values.load_module)
        .replace("{{splice}}", values.splice)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill_for_test(template: &str) -> Result<String> {
        let backends = ["127.0.0.1:1001".parse().unwrap(), "127.0.0.1:1002".parse().unwrap()];
        let values = Values {
            listen: "127.0.0.1:1000".parse().unwrap(),
            admin: "127.0.0.1:1009".parse().unwrap(),
            backends: &backends,
            dir: Path::new("/tmp/x"),
            descriptors: 20_000,
            load_module: String::new(),
            splice: "",
        };
        fill(template, &values)
    }

    #[test]
    fn a_line_with_a_backend_is_repeated() {
        let text =
            fill_for_test("on {{listen}}\ns{{index}} {{backend}}\nmax {{sessions}}").unwrap();
        let expected = "on 127.0.0.1:1000\ns0 127.0.0.1:1001\ns1 127.0.0.1:1002\nmax 9500\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn an_unknown_name_is_an_error() {
        let error = fill_for_test("{{listne}}").unwrap_err().to_string();
        assert!(error.contains("listne"), "{error}");
    }

    #[test]
    fn every_committed_template_can_be_filled() {
        for template in super::super::process::TEMPLATES {
            fill_for_test(template).unwrap();
        }
    }
}
