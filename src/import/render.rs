//! The section as a `mainstay.toml`, each line with the one that it comes from.

use super::proxy::{Carried, Proxy, shown};

/// The whole file.
pub(super) fn toml(proxy: &Proxy, name: &str) -> String {
    let mut text = format!(
        "# Made by `mainstay import` from {}, section `{}` (line {}).\n\
         # docs/config.md has every key; `mainstay check --config FILE` prints what is in force.\n\n",
        shown(name),
        shown(&proxy.name),
        proxy.line
    );
    let listen: Vec<String> = proxy.listen.iter().map(|(_, addr)| format!("\"{addr}\"")).collect();
    let mut lines: Vec<String> = proxy.listen.iter().map(|(line, _)| line.to_string()).collect();
    lines.dedup();
    text.push_str(&format!("listen = [{}]  # line {}\n", listen.join(", "), lines.join(", ")));
    if !proxy.serves_apiservers() {
        text.push_str(
            "# No port is an apiserver's, so backends are only asked whether they accept.\n",
        );
        text.push_str("probe = \"tcp\"\n");
    }
    let (top, tables): (Vec<&Carried>, Vec<&Carried>) =
        proxy.settings.iter().partition(|setting| !setting.key.contains('.'));
    for setting in top {
        push_setting(&mut text, setting.key, setting);
    }
    push_backends(&mut text, proxy);
    push_tables(&mut text, tables);
    text
}

fn push_backends(text: &mut String, proxy: &Proxy) {
    text.push_str("\nbackends = [\n");
    for server in &proxy.servers {
        let line = server.line;
        let name = server.name.as_ref().map_or_else(String::new, |name| format!("{name}="));
        text.push_str(&match &server.place {
            Ok(addr) => format!("    \"{name}{addr}\",  # line {line}\n"),
            Err(why) => format!("    # line {line}: {}: {why}\n", shown(&server.was)),
        });
    }
    text.push_str("]\n");
}

fn push_tables(text: &mut String, mut settings: Vec<&Carried>) {
    settings.sort_by_key(|setting| setting.key);
    let mut open = "";
    for setting in settings {
        let (table, key) = setting.key.split_once('.').unwrap_or(("", setting.key));
        if table != open {
            text.push_str(&format!("\n[{table}]\n"));
            open = table;
        }
        push_setting(text, key, setting);
    }
}

fn push_setting(text: &mut String, key: &str, setting: &Carried) {
    let mark = if setting.active { "" } else { "# " };
    let (value, line, was) = (&setting.value, setting.line, &setting.was);
    text.push_str(&format!("{mark}{key} = {value}  # line {line}: {was}\n"));
}
