//! The grammar of haproxy.cfg: lines of words, under sections that begin with a keyword.

use super::ImportError;
use super::proxy::{Note, shown};

/// The keywords that begin a section.
const SECTIONS: &[&str] = &[
    "global",
    "defaults",
    "frontend",
    "backend",
    "listen",
    "peers",
    "resolvers",
    "mailers",
    "userlist",
    "cache",
    "program",
    "ring",
    "http-errors",
    "fcgi-app",
    "log-forward",
    "log-profile",
    "crt-store",
    "traces",
    "acme",
];

/// Most lines: each section reads those of its defaults.
const LINES_MAX: usize = 100_000;

/// Whether a word begins a section.
pub(super) fn is_section(word: &str) -> bool {
    SECTIONS.contains(&word)
}

/// One line inside of a section.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// From 1.
    pub(super) number: usize,
    /// At least one.
    pub(super) words: Vec<String>,
}

impl Line {
    /// A word, or nothing.
    pub(super) fn word(&self, index: usize) -> &str {
        self.words.get(index).map_or("", String::as_str)
    }

    /// The line as people write it.
    pub(super) fn said(&self) -> String {
        self.words.join(" ")
    }
}

/// A section with its lines.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) number: usize,
    pub(super) kind: String,
    /// Empty if it has none.
    pub(super) name: String,
    /// The defaults that it names with `from`.
    pub(super) from: Option<String>,
    pub(super) lines: Vec<Line>,
}

/// The sections of a file, and what could not be followed.
pub(super) fn parse(text: &str) -> Result<(Vec<Section>, Vec<Note>), ImportError> {
    let (mut sections, mut notes) = (Vec::<Section>::new(), Vec::new());
    for (index, raw) in text.lines().enumerate() {
        let number = index + 1;
        if number > LINES_MAX {
            return Err(syntax(number, "the file is longer than a configuration can be"));
        }
        let words = words(raw).map_err(|reason| syntax(number, reason))?;
        let Some(first) = words.first() else { continue };
        let line = Line { number, words: words.clone() };
        if first.starts_with('.') {
            let why = "conditions are not followed; what stands between them was read as it is";
            notes.push(Note::lost(number, &line.said(), why));
        } else if is_section(first) {
            sections.push(section(&line));
        } else if let Some(open) = sections.last_mut() {
            open.lines.push(line);
        } else {
            let said = shown(&line.said());
            return Err(syntax(number, &format!("`{said}` stands before any section")));
        }
    }
    Ok((sections, notes))
}

fn section(line: &Line) -> Section {
    let named = line.word(1) != "from";
    let from = line.words.iter().position(|word| word == "from");
    Section {
        number: line.number,
        kind: line.word(0).to_owned(),
        name: if named { line.word(1).to_owned() } else { String::new() },
        from: from.map(|at| line.word(at + 1).to_owned()),
        lines: Vec::new(),
    }
}

fn syntax(line: usize, reason: &str) -> ImportError {
    ImportError::Syntax { line, reason: reason.to_owned() }
}

/// The words of one line, without quotes, escapes and comment.
fn words(line: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = line.chars();
    while let Some(next) = chars.next() {
        match (quote, next) {
            (Some(open), _) if open == next => quote = None,
            (None | Some('"'), '\\') => {
                let escaped = chars.next().ok_or("ends with a `\\`")?;
                word.get_or_insert_default().push(escaped);
            }
            (None, '"' | '\'') => {
                quote = Some(next);
                word.get_or_insert_default();
            }
            (None, '#') => break,
            (None, blank) if blank.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(next),
        }
    }
    if quote.is_some() {
        return Err("a quote is opened and not closed");
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_words() {
        let read = |line: &str| words(line).unwrap();
        assert_eq!(read("  server a 10.0.0.1:1 check # x"), ["server", "a", "10.0.0.1:1", "check"]);
        assert_eq!(read(r#"log-format "a \"b\" c"'d'"#), ["log-format", "a \"b\" cd"]);
        assert_eq!(read(r"a\ b c\#d"), ["a b", "c#d"]);
        assert_eq!(read("''"), [""]);
        assert!(read("   # nothing").is_empty());
        assert!(words("a 'b").is_err());
    }

    #[test]
    fn reads_sections() {
        let text = "defaults base\n mode tcp\nfrontend a from base\n bind :1\n.if defined(X)\n";
        let (sections, notes) = parse(text).unwrap();
        assert_eq!((sections.len(), notes.len(), notes[0].line), (2, 1, 5));
        assert_eq!((sections[1].name.as_str(), sections[1].from.as_deref()), ("a", Some("base")));
        let error = parse("mode tcp\n").unwrap_err().to_string();
        assert_eq!(error, "line 1: `mode tcp` stands before any section");
    }

    proptest! {
        #[test]
        fn any_text_is_an_answer(text in "[a-z0-9 \\n:\"'#$\\\\]{0,200}") {
            parse(&text).ok();
        }
    }
}
