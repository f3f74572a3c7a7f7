//! The files of the repository, and Rust code without its comments and literals.

use std::path::{Path, PathBuf};

/// Directories that hold no source of ours.
const SKIPPED: [&str; 5] = ["target", ".git", ".cache", "fixtures", "out"];

/// What is looked at.
const EXTENSIONS: [&str; 6] = ["rs", "toml", "md", "sh", "service", "py"];

/// A text file of the repository.
pub(crate) struct File {
    /// From the root, with `/`.
    pub(crate) path: String,
    /// As it is.
    pub(crate) text: String,
    /// For Rust: the same lines, comments and literals blanked; else empty.
    pub(crate) code: String,
}

impl File {
    /// Whether the whole file is a test.
    pub(crate) fn is_test(&self) -> bool {
        self.path.starts_with("tests/")
            || self.path.contains("/tests/")
            || self.path.ends_with("/tests.rs")
    }

    /// Lines before the test module, which stands last.
    pub(crate) fn lines_without_tests(&self) -> usize {
        let tests = self.code.lines().position(|line| line == "#[cfg(test)]");
        tests.unwrap_or_else(|| self.code.lines().count())
    }
}

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All text files, sorted by path.
pub(crate) fn files() -> Vec<File> {
    let mut paths = Vec::new();
    collect(root(), &mut paths);
    paths.sort();
    paths.iter().map(|path| read(path)).collect()
}

fn collect(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let extension = path.extension().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            if !SKIPPED.contains(&name.as_str()) {
                collect(&path, found);
            }
        } else if EXTENSIONS.contains(&&*extension) || name == "Makefile" {
            found.push(path);
        }
    }
}

fn read(path: &Path) -> File {
    let text = std::fs::read_to_string(path).unwrap();
    let rust = path.extension().is_some_and(|extension| extension == "rs");
    let shown = path.strip_prefix(root()).unwrap().to_string_lossy();
    File {
        path: shown.replace('\\', "/"),
        code: if rust { blanked(&text) } else { String::new() },
        text,
    }
}

/// The code with every comment, string and character literal replaced by spaces; lines stay.
pub(crate) fn blanked(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let length = literal_length(&chars, at);
        if length == 0 {
            code.push(chars[at]);
            at += 1;
        } else {
            let literal = &chars[at..(at + length).min(chars.len())];
            code.extend(literal.iter().map(|&c| if c == '\n' { c } else { ' ' }));
            at += length;
        }
    }
    code
}

/// How many characters the comment or literal that begins here has; 0 if none does.
fn literal_length(chars: &[char], at: usize) -> usize {
    let rest = &chars[at..];
    let word_before = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    match rest {
        ['/', '/', ..] => rest.iter().take_while(|c| **c != '\n').count(),
        ['/', '*', ..] => block_comment(rest),
        ['"', ..] => string(rest),
        ['r', '"' | '#', ..] if !word_before || matches!(chars[at - 1], 'b' | 'c') => {
            raw_string(rest)
        }
        ['\'', '\\', _, ..] => {
            let end = rest.iter().skip(3).position(|c| *c == '\'');
            end.map_or(rest.len(), |end| end + 4)
        }
        ['\'', _, '\'', ..] => 3,
        _ => 0,
    }
}

fn block_comment(rest: &[char]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match &rest[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn string(rest: &[char]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    at
}

fn raw_string(rest: &[char]) -> usize {
    let hashes = rest[1..].iter().take_while(|c| **c == '#').count();
    if rest.get(1 + hashes) != Some(&'"') {
        return 0;
    }
    let begin = 2 + hashes;
    let closes = |at: usize| {
        rest[at] == '"'
            && rest[at + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes
    };
    let end = (begin..rest.len()).find(|at| closes(*at));
    end.map_or(rest.len(), |end| end + 1 + hashes)
}

#[test]
fn literals_and_comments_are_blanked() {
    let cases = [
        ("a // b {\nc", "a       \nc"),
        ("a /* { /* { */ } */ b", "a                   b"),
        (r#"f("{ \" {")"#, "f(        )"),
        ("r#\"{ \" {\"# x", "           x"),
        ("br\"{\\\" x", "b      x"),
        ("'{' '\\'' '\\u{7b}' x", "                  x"),
        ("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}"),
        ("for_r#type", "for_r#type"),
        ("r#type", "r#type"),
    ];
    for (text, expected) in cases {
        assert_eq!(blanked(text).trim_end(), expected.trim_end(), "{text}");
    }
}
