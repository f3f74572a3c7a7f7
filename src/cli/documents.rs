//! The documents compared with the program: `docs/commands.md` has every command and flag, no
//! document shows one that does not exist, and `docs/admin-api.md` has what the admin endpoint answers.

use std::path::{Path, PathBuf};

use clap::{Arg, Command, CommandFactory};

use super::Cli;

fn top() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every document of the repository.
fn documents() -> Vec<(String, String)> {
    fn collect(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    let mut paths = Vec::new();
    collect(&top().join("docs"), &mut paths);
    for name in ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"] {
        paths.push(top().join(name));
    }
    let mut read: Vec<(String, String)> = paths
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(top()).unwrap().display().to_string();
            (name, std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path:?}: {e}")))
        })
        .collect();
    read.sort();
    read
}

/// `docs/commands.md` from the command line.
fn reference() -> String {
    let mut text = String::from(
        "# Commands\n\nEvery command with its flags, as `mainstay COMMAND --help` explains them at length. \
         This page is made\nfrom the program, and a test compares the two.\n",
    );
    let mut cli = Cli::command();
    cli.build();
    for command in cli.get_subcommands().filter(|command| command.get_name() != "help") {
        describe(command, &mut text);
    }
    text
}

fn describe(command: &Command, text: &mut String) {
    let path = command.get_bin_name().unwrap();
    let about = command.get_about().unwrap().to_string();
    text.push_str(&format!("\n## {path}\n\n{}\n", plain(&about)));
    let shown =
        |arg: &&Arg| !arg.is_hide_set() && !matches!(arg.get_id().as_str(), "help" | "version");
    let mut rows = command.get_arguments().filter(shown).peekable();
    if rows.peek().is_some() {
        text.push_str("\n| argument | meaning |\n|---|---|\n");
    }
    for arg in rows {
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        text.push_str(&format!("| `{}` | {} |\n", name(arg), plain(&help)));
    }
    for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
        describe(verb, text);
    }
}

/// `--output FORMAT`, or `NAME`.
fn name(arg: &Arg) -> String {
    let takes = arg.get_action().takes_values();
    let values = arg.get_value_names().unwrap_or_default();
    let value = values.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    match arg.get_long() {
        Some(long) if takes => format!("--{long} {value}"),
        Some(long) => format!("--{long}"),
        None => value,
    }
}

fn plain(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

#[test]
fn every_command_and_flag_has_its_line() {
    let path = top().join("docs/commands.md");
    let made = reference();
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == made,
        "docs/commands.md differs from the program; UPDATE_SNAPSHOTS=1 writes it anew"
    );
}

/// The pieces of a document that may be command lines: what stands in fences, line by line, and what
/// stands between backticks.
fn pieces(text: &str) -> Vec<String> {
    let (mut found, mut prose, mut fenced) = (Vec::new(), String::new(), false);
    let mut going_on = String::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            prose.push_str(line);
            prose.push('\n');
        } else if let Some(begun) = line.strip_suffix('\\') {
            going_on.push_str(begun);
        } else {
            found.push(std::mem::take(&mut going_on) + line);
        }
    }
    found.extend(prose.split('`').skip(1).step_by(2).map(str::to_owned));
    found
}

/// The command lines of ours in a piece, each as its words behind `mainstay`.
fn commands(piece: &str) -> Vec<Vec<String>> {
    let words = piece.split_whitespace().map(|word| {
        // Brackets around what may be left out, and quotes.
        word.trim_matches(|c| matches!(c, '[' | ']' | '\'' | '"' | '(' | ')')).to_owned()
    });
    let mut lines: Vec<Vec<String>> = vec![Vec::new()];
    for word in words {
        match word.as_str() {
            "&&" | "||" | "|" | ";" | "validate:" => lines.push(Vec::new()),
            "$" | "sudo" => {}
            // What follows is a file of the shell, or a comment.
            ">" | ">>" | "<" => break,
            _ if word.starts_with('#') => break,
            _ => lines.last_mut().unwrap().push(word),
        }
    }
    let ours = |line: &Vec<String>| {
        let first = line.first().map(String::as_str).unwrap_or_default();
        first == "mainstay" || first.ends_with("/mainstay")
    };
    // What the program prints begins with its name too, and then its version.
    let printed = |line: &Vec<String>| {
        line.get(1).is_some_and(|w| w.starts_with(|c: char| c.is_ascii_digit()))
    };
    lines
        .into_iter()
        .filter(|line| ours(line) && !printed(line))
        .map(|line| line[1..].to_vec())
        .collect()
}

/// What is wrong with a command line.
fn fault(words: &[String]) -> Option<String> {
    let cli = Cli::command();
    let (mut command, mut words) = (&cli, words.iter());
    while let Some(word) = words.next() {
        if matches!(word.as_str(), "…" | "\\" | "2>&1" | "&") || word.starts_with('>') {
            continue;
        }
        if word == "--help" || word == "--version" || word == "-h" || word == "-V" {
            continue;
        }
        if word.starts_with('-') && word.len() > 1 {
            let name = word.split('=').next().unwrap();
            let Some(arg) = command.get_arguments().find(|arg| is(arg, name)) else {
                return Some(format!("{} has no {name}", command.get_name()));
            };
            if arg.get_action().takes_values() && !word.contains('=') {
                words.next();
            }
            continue;
        }
        let verbs: Vec<&Command> = command.get_subcommands().collect();
        if verbs.is_empty() {
            if command.get_positionals().next().is_none() {
                return Some(format!("{} takes no `{word}`", command.get_name()));
            }
            continue;
        }
        // `key|show` stands for either, `COMMAND` for all of them.
        if word.chars().all(|c| c.is_ascii_uppercase()) {
            return None;
        }
        for name in word.split('|') {
            let name = name.trim_end_matches([',', '.', ':']);
            match verbs.iter().find(|verb| verb.get_name() == name) {
                Some(verb) => command = verb,
                None => return Some(format!("{} has no command `{name}`", command.get_name())),
            }
        }
    }
    None
}

fn is(arg: &Arg, name: &str) -> bool {
    match name.strip_prefix("--") {
        Some(long) => arg.get_long() == Some(long),
        None => {
            arg.get_short().is_some_and(|short| name.strip_prefix('-') == Some(&short.to_string()))
        }
    }
}

#[test]
fn every_command_line_in_the_documents_exists() {
    let (mut seen, mut wrong) = (0, Vec::new());
    for (name, text) in documents() {
        for piece in pieces(&text) {
            for words in commands(&piece) {
                seen += 1;
                if let Some(fault) = fault(&words) {
                    wrong.push(format!("{name}: `mainstay {}`: {fault}", words.join(" ")));
                }
            }
        }
    }
    assert!(seen > 100, "only {seen} were found");
    assert!(wrong.is_empty(), "documents show what does not exist:\n{}", wrong.join("\n"));
}

#[test]
fn what_does_not_exist_is_found() {
    let wrong = |piece: &str| commands(piece).iter().filter_map(|words| fault(words)).count();
    for piece in [
        "mainstay balance",
        "$ mainstay status --color",
        "x && mainstay certs keys",
        "mainstay status now",
    ] {
        assert_eq!(wrong(piece), 1, "{piece}");
    }
    for piece in [
        "mainstay 0.1.0 (abc)  pid 7",
        "mainstay drain master-1 [--over 5m]",
        "$ mainstay certs key|upload > x  # --nothing",
        "mainstay COMMAND --help",
        "sudo mainstay status -o json",
    ] {
        assert_eq!(wrong(piece), 0, "{piece}");
    }
}

/// The files in which the admin endpoint tells paths apart.
const ADMIN: [&str; 2] =
    [include_str!("../admin/routes.rs"), include_str!("../admin/coordinator.rs")];

/// The paths and the verbs that the admin endpoint knows, as its source writes them.
fn admin_words() -> (Vec<String>, Vec<String>) {
    let literals = |line: &str| -> Vec<String> {
        line.split('"').skip(1).step_by(2).map(str::to_owned).collect()
    };
    let lines = || ADMIN.iter().flat_map(|text| text.lines());
    let mut paths: Vec<String> = lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(literals)
        .filter(|text| text.starts_with('/') && !text.contains(['{', '\\']))
        .collect();
    paths.sort();
    paths.dedup();
    let verbs = lines()
        .filter(|line| line.contains("\" => Some((name"))
        .flat_map(literals)
        .map(|verb| format!("/{verb}"))
        .collect();
    (paths, verbs)
}

#[test]
fn every_admin_path_has_its_line() {
    let page = std::fs::read_to_string(top().join("docs/admin-api.md")).unwrap();
    let documented: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .filter_map(|(request, _)| Some(request.split_once(' ')?.1))
        .collect();
    let (paths, verbs) = admin_words();
    assert!(paths.len() >= 11 && verbs.len() == 2, "{paths:?} {verbs:?}");
    // A path that ends with a slash has a name after it.
    let is = |asked: &str, path: &str| match path.strip_suffix('/').filter(|it| !it.is_empty()) {
        Some(_) => asked.starts_with(path),
        None => asked == path || asked.strip_prefix(path).is_some_and(is_a_name),
    };
    for path in &paths {
        assert!(documented.iter().any(|asked| is(asked, path)), "docs/admin-api.md lacks {path}");
    }
    for verb in &verbs {
        let there = documented.iter().any(|asked| asked.ends_with(verb.as_str()));
        assert!(there, "docs/admin-api.md lacks the verb {verb}");
    }
    for asked in documented {
        let known = paths.iter().any(|path| is(asked, path));
        assert!(known, "docs/admin-api.md has {asked}, which the endpoint does not know");
    }
}

#[test]
fn every_field_about_the_cluster_has_its_line() {
    let page = std::fs::read_to_string(top().join("docs/admin-api.md")).unwrap();
    let known = serde_json::to_value(common::status::KubernetesStatus::default()).unwrap();
    let fields = known.as_object().unwrap();
    assert!(fields.len() > 6);
    for field in fields.keys() {
        assert!(page.contains(&format!("| `{field}` |")), "docs/admin-api.md lacks {field}");
    }
}

/// `/ID` or `/NAME`.
fn is_a_name(rest: &str) -> bool {
    rest.strip_prefix('/')
        .is_some_and(|name| !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase()))
}
