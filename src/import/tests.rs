//! Files in, configurations out: those that people have, and those that nobody should have.

use proptest::prelude::*;

use super::*;

const WALKTHROUGH: &str = include_str!("../../tests/fixtures/import/walkthrough.nginx.conf");
const KUBESPRAY_NGINX: &str = include_str!("../../tests/fixtures/import/kubespray.nginx.conf");
const KUBESPRAY_HAPROXY: &str = include_str!("../../tests/fixtures/import/kubespray.haproxy.cfg");
const GUIDE: &str = include_str!("../../tests/fixtures/import/kubeadm-guide.haproxy.cfg");
const SEVERAL: &str = include_str!("../../tests/fixtures/import/several.haproxy.cfg");

fn read(text: &str) -> Result<Imported, ImportError> {
    import(text.as_bytes(), "old", None, None)
}

fn section(text: &str, section: &str) -> Result<Imported, ImportError> {
    import(text.as_bytes(), "old", None, Some(section))
}

fn config(imported: &Imported) -> Config {
    let layers = Layers::from_text(&imported.toml, Path::new("new.toml")).unwrap();
    Config::checked(&layers).unwrap()
}

/// Name and address of each backend.
fn backends(config: &Config) -> Vec<String> {
    config.backends.iter().map(|m| format!("{} {}", m.name, m.addr)).collect()
}

fn lost(imported: &Imported) -> Vec<(usize, &str)> {
    let lost = imported.notes.iter().filter(|note| note.weight == Weight::Lost);
    lost.map(|note| (note.line, note.what.as_str())).collect()
}

#[test]
fn the_walkthroughs_file() {
    let imported = read(WALKTHROUGH).unwrap();
    let config = config(&imported);
    assert_eq!(config.listen[0].to_string(), "0.0.0.0:6443");
    let expected = ["11", "12", "13"].map(|n| format!("192.168.122.{n}:6443 192.168.122.{n}:6443"));
    assert_eq!(backends(&config), expected);
    assert_eq!(config.timeouts.connect.as_secs(), 1);
    assert_eq!(config.timeouts.idle.as_secs(), 65 * 60, "ten minutes cut quiet watches");
    assert!(imported.toml.contains("# idle = \"10m\"  # line 14: proxy_timeout 10m"));
    assert_eq!(lost(&imported), [(14, "proxy_timeout 10m")]);
    assert_eq!((imported.section.as_str(), imported.line), ("kube_apiserver", 10));
}

#[test]
fn the_files_of_kubespray() {
    let imported = read(KUBESPRAY_NGINX).unwrap();
    let config = config(&imported);
    assert_eq!((config.workers, config.listen[0].to_string().as_str()), (2, "127.0.0.1:6443"));
    assert_eq!(config.backends.len(), 3);
    assert_eq!(lost(&imported), [(5, "worker_shutdown_timeout 10s"), (24, "proxy_timeout 10m")]);
    let why = |line| imported.notes.iter().find(|note| note.line == line).unwrap().why.as_str();
    assert!(why(29).contains("/livez"));

    let imported = read(KUBESPRAY_HAPROXY).unwrap();
    let config = self::config(&imported);
    let expected = ["0", "1", "2"]
        .map(|n| format!("master-{n} 10.0.0.1{}:6443", n.parse::<u8>().unwrap() + 1));
    assert_eq!(backends(&config), expected);
    assert_eq!(config.limits.max_connections, 4000);
    assert_eq!((config.timeouts.connect.as_secs(), config.timeouts.dial.as_secs()), (30, 30));
    assert_eq!(config.probe, common::config::ProbeKind::Https);
    let lines: Vec<usize> = lost(&imported).iter().map(|(line, _)| *line).collect();
    // Both logs, the idle limit, and the limit of connections of one server.
    for line in [4, 8, 17, 31, 37] {
        assert!(lines.contains(&line), "{line} in {:?}", lost(&imported));
    }
}

#[test]
fn the_file_of_kubeadms_guide() {
    let imported = read(GUIDE).unwrap();
    let config = config(&imported);
    assert_eq!(config.listen[0].to_string(), "0.0.0.0:8443");
    assert_eq!(config.backends[2].name, "control-plane-3");
    assert_eq!(config.timeouts.connect.as_secs(), 5);
    assert!(lost(&imported).contains(&(36, "balance roundrobin")));
    assert!(imported.toml.contains("# idle = \"35s\""));
}

#[test]
fn asks_which_of_several_sections_is_meant() {
    let error = read(SEVERAL).unwrap_err().to_string();
    assert!(error.contains("choose one with --section"), "{error}");
    assert!(error.contains("`kube-blue` (line 9, listens on 10.0.0.10:6443"), "{error}");
    assert!(error.contains("`kube-green`") && !error.contains("terminated"), "{error}");

    let error = section(SEVERAL, "kube-red").unwrap_err().to_string();
    assert!(error.starts_with("there is no section `kube-red`; there is: `kube-blue`"), "{error}");

    let refused = [
        ("terminated", "ends TLS itself"),
        ("lost", "goes to `nowhere`, which is not in the file"),
        ("http", "is in mode http, not tcp"),
    ];
    for (name, reason) in refused {
        let error = section(SEVERAL, name).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("section `{name}` cannot be used: {reason}")),
            "{error}"
        );
    }
}

#[test]
fn carries_over_what_one_section_says() {
    let imported = section(SEVERAL, "kube-blue").unwrap();
    let config = config(&imported);
    assert_eq!(config.listen.len(), 2);
    assert_eq!(backends(&config), ["blue-0 10.0.0.11:6443", "blue-1 10.0.0.12:6443"]);
    assert_eq!(config.cluster.ca.as_deref(), Some(Path::new("/etc/kubernetes/pki/ca.crt")));
    assert_eq!(config.timeouts.idle.as_secs(), 7200);
    let lost = lost(&imported);
    assert!(lost.contains(&(13, "server … backup")) && lost.contains(&(13, "server … weight 5")));
    assert!(lost.iter().any(|(line, _)| *line == 14) && lost.iter().any(|(line, _)| *line == 15));
    assert!(imported.toml.contains("`masters.example.org` is a name"), "{}", imported.toml);

    let imported = section(SEVERAL, "10.0.1.10:6443").unwrap();
    assert_eq!(backends(&self::config(&imported)), ["green-0 10.0.1.11:6443"]);
    assert!(self::lost(&imported).contains(&(19, "acl inside src 10.0.0.0/8")));
}

#[test]
fn both_families_of_nginx_become_one_address() {
    let text = "stream { server { listen 6443; listen [::]:6443; proxy_pass 10.0.0.1:6443; } }";
    let imported = read(text).unwrap();
    let config = config(&imported);
    assert_eq!(config.listen.len(), 1);
    assert_eq!(config.listen[0].to_string(), "[::]:6443");
    assert_eq!(imported.section, "10.0.0.1:6443");
}

#[test]
fn servers_that_are_down_doubled_or_named_are_left_out() {
    let text = "upstream k {\n server 10.0.0.1:6443 weight=2;\n server 10.0.0.1:6443;\n\
                server 10.0.0.2:6443 down;\n server m.example:6443;\n server $m:6443; }\n\
                server { listen 6443 so_keepalive=on; proxy_pass k; proxy_timeout 2h; allow 10.0.0.0/8; }";
    let imported = read(text).unwrap();
    let config = config(&imported);
    assert_eq!(backends(&config), ["10.0.0.1:6443 10.0.0.1:6443"]);
    assert_eq!(config.timeouts.idle.as_secs(), 7200);
    let lines: Vec<usize> = lost(&imported).iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, [1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn what_is_no_apiserver_is_only_asked_whether_it_accepts() {
    let imported = read("stream { server { listen 5432; proxy_pass 10.0.0.1:5432; } }").unwrap();
    assert_eq!(config(&imported).probe, common::config::ProbeKind::Tcp);
}

#[test]
fn refuses_files_with_one_sentence() {
    let table: &[(&str, &str)] = &[
        ("", "there is nothing in it to import"),
        ("# only\n\n   # comments\n", "there is nothing in it to import"),
        ("a\0b", "it is no text"),
        ("stream {\n{% for h in hosts %}\n}", "line 2: this is a template"),
        ("stream {\n server {\n", "line 2: the block `server` is not closed"),
        ("http { server { listen 80; } }", "it balances no TCP connections"),
        (
            "stream { server { listen 53 udp; proxy_pass 10.0.0.1:53; } }",
            "`10.0.0.1:53` (line 1) is for UDP",
        ),
        ("stream { server { listen 443 ssl; proxy_pass 10.0.0.1:53; } }", "ends TLS itself"),
        ("stream { server { listen 443; proxy_pass $x; } }", "passes to a variable"),
        ("stream { server { listen 443; } }", "passes to nothing"),
        ("stream { server { proxy_pass 10.0.0.1:53; } }", "listens on no TCP address"),
        ("global\n daemon\n", "it balances no TCP connections"),
        ("frontend a\n bind 'x\n", "line 2: a quote is opened and not closed"),
        ("listen a\n bind :6443\n", "has no servers"),
        (
            "listen a\n bind 127.0.0.1:6443\n server a 127.0.0.1:6443\n",
            "section `a` cannot be used: mainstay.toml:",
        ),
        ("just some prose without any end", "is not ended by `;`"),
    ];
    for (text, expected) in table {
        let said = read(text).unwrap_err().to_string();
        assert!(said.contains(expected), "{text:?}\nsaid: {said}\nwant: {expected}");
    }
    let noise: Vec<u8> = (1..=255u8).cycle().take(5000).collect();
    assert!(import(&noise, "old", None, None).is_err());
}

#[test]
fn hundreds_of_servers_are_refused_and_not_cut() {
    let servers: String = (0..200).map(|n| format!("server 10.0.1.{n}:6443;")).collect();
    let text = format!("upstream u {{ {servers} }} server {{ listen 6443; proxy_pass u; }}");
    let said = read(&text).unwrap_err().to_string();
    assert!(said.contains("at most 64"), "{said}");
}

proptest! {
    /// Whatever a file holds, what is written passes the checks, or there is a sentence.
    #[test]
    fn pieces_in_any_order(pieces in proptest::collection::vec(0usize..PIECES.len(), 1..25)) {
        let text: Vec<&str> = pieces.iter().map(|index| PIECES[*index]).collect();
        if let Ok(imported) = read(&text.join("\n")) {
            config(&imported);
        }
    }

    #[test]
    fn any_bytes_are_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        import(&bytes, "old", Some(Format::Haproxy), None).ok();
        import(&bytes, "old", Some(Format::Nginx), None).ok();
    }
}

/// Lines of both formats, to be put together without sense.
const PIECES: &[&str] = &[
    "listen a",
    "frontend f",
    "backend b",
    "defaults",
    "defaults x from y",
    "bind :6443",
    "bind [::]:6443 ssl",
    "bind \"/x\ty\u{7f}\"",
    "server m\"\u{1}\n 10.0.0.1:6443",
    "server m/é 10.0.0.1:6443 weight 7",
    "server m 10.0.0.2 ca-file \"/a\\\"b\u{7f}\" verify required",
    "default_backend b",
    "mode tcp",
    "timeout tunnel 3h",
    "timeout connect 0",
    "timeout connect 1us",
    "maxconn 99999999",
    "stream {",
    "upstream u {",
    "server {",
    "}",
    "server 10.0.0.1:6443;",
    "server [::1]:1 weight=0;",
    "listen 6443;",
    "listen 1.2.3.4:99 backlog=1;",
    "proxy_pass u;",
    "proxy_pass 'a\"\nb';",
    "proxy_timeout 100d;",
    "proxy_connect_timeout 5000w;",
    "worker_processes 3;",
];
