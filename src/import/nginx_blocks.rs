//! The grammar of nginx.conf: statements of words, ended by `;` or by a block in braces.

use super::ImportError;

/// Deepest nesting that is read. NGINX's own contexts nest four deep; `if` and `location` add a few.
const DEPTH_MAX: usize = 32;

/// One statement.
#[derive(Debug, Default)]
pub(super) struct Statement {
    /// Where it begins, from 1.
    pub(super) line: usize,
    /// Its words without their quotes; at least one.
    pub(super) words: Vec<String>,
    /// What stands in its braces, if it has any.
    pub(super) block: Option<Vec<Statement>>,
}

impl Statement {
    /// The first word.
    pub(super) fn name(&self) -> &str {
        self.word(0)
    }

    /// A word, or nothing.
    pub(super) fn word(&self, index: usize) -> &str {
        self.words.get(index).map_or("", String::as_str)
    }

    /// The statement as people write it.
    pub(super) fn said(&self) -> String {
        self.words.join(" ")
    }

    /// Its block, empty if it has none.
    pub(super) fn inner(&self) -> &[Statement] {
        self.block.as_deref().unwrap_or_default()
    }
}

/// The statements of a file.
pub(super) fn parse(text: &str) -> Result<Vec<Statement>, ImportError> {
    let mut reader = Reader { chars: text.chars().peekable(), line: 1 };
    // The innermost block last; the first one is the file.
    let mut open: Vec<Statement> =
        vec![Statement { block: Some(Vec::new()), ..Statement::default() }];
    let mut current = Statement::default();
    loop {
        match reader.token()? {
            Token::Word(line, word) => {
                if current.words.is_empty() {
                    current.line = line;
                }
                current.words.push(word);
            }
            Token::End => close_statement(&mut open, std::mem::take(&mut current)),
            Token::Open if current.words.is_empty() => {
                return Err(wrong(reader.line, "a block begins here without a name"));
            }
            Token::Open if open.len() > DEPTH_MAX => {
                return Err(wrong(reader.line, "blocks are nested too deep"));
            }
            Token::Open => {
                if current.name().ends_with("_by_lua_block") {
                    reader.skip_block()?;
                    close_statement(&mut open, std::mem::take(&mut current));
                } else {
                    current.block = Some(Vec::new());
                    open.push(std::mem::take(&mut current));
                }
            }
            Token::Close | Token::Eof if !current.words.is_empty() => {
                let said = super::proxy::shown(&current.said());
                return Err(wrong(current.line, &format!("`{said}` is not ended by `;`")));
            }
            Token::Close if open.len() == 1 => {
                return Err(wrong(reader.line, "`}` closes no block"));
            }
            Token::Close => {
                if let Some(block) = open.pop() {
                    close_statement(&mut open, block);
                }
            }
            Token::Eof => return end(open),
        }
    }
}

fn end(mut open: Vec<Statement>) -> Result<Vec<Statement>, ImportError> {
    match open.pop() {
        Some(file) if open.is_empty() => Ok(file.block.unwrap_or_default()),
        Some(block) => {
            Err(wrong(block.line, &format!("the block `{}` is not closed", block.name())))
        }
        None => Ok(Vec::new()),
    }
}

fn close_statement(open: &mut [Statement], statement: Statement) {
    if statement.words.is_empty() {
        return;
    }
    if let Some(block) = open.last_mut().and_then(|outer| outer.block.as_mut()) {
        block.push(statement);
    }
}

fn wrong(line: usize, reason: &str) -> ImportError {
    ImportError::Syntax { line, reason: reason.to_owned() }
}

enum Token {
    Word(usize, String),
    End,
    Open,
    Close,
    Eof,
}

struct Reader<'a> {
    chars: std::iter::Peekable<std::str::Chars<'a>>,
    line: usize,
}

impl Reader<'_> {
    fn next(&mut self) -> Option<char> {
        let next = self.chars.next();
        self.line += usize::from(next == Some('\n'));
        next
    }

    fn token(&mut self) -> Result<Token, ImportError> {
        while let Some(next) = self.chars.peek().copied() {
            match next {
                '#' => while self.next().is_some_and(|c| c != '\n') {},
                ';' | '{' | '}' => {
                    self.next();
                    return Ok(match next {
                        ';' => Token::End,
                        '{' => Token::Open,
                        _ => Token::Close,
                    });
                }
                '"' | '\'' => {
                    let line = self.line;
                    return Ok(Token::Word(line, self.quoted(line)?));
                }
                blank if blank.is_whitespace() => drop(self.next()),
                _ => {
                    let line = self.line;
                    return Ok(Token::Word(line, self.bare()));
                }
            }
        }
        Ok(Token::Eof)
    }

    fn quoted(&mut self, line: usize) -> Result<String, ImportError> {
        let quote = self.next();
        let mut word = String::new();
        loop {
            match self.next() {
                None => return Err(wrong(line, "a quote is opened here and not closed")),
                next if next == quote => return Ok(word),
                Some('\\') => word.extend(self.next()),
                Some(next) => word.push(next),
            }
        }
    }

    /// A word without quotes. `${name}` is a variable and no block.
    fn bare(&mut self) -> String {
        let mut word = String::new();
        while let Some(next) = self.chars.peek().copied() {
            let variable = next == '{' && word.ends_with('$');
            if !variable && (next.is_whitespace() || matches!(next, ';' | '{' | '}')) {
                break;
            }
            self.next();
            if next == '\\' {
                word.extend(self.next());
                continue;
            }
            word.push(next);
            if variable {
                while let Some(inner) = self.chars.next_if(|c| !matches!(c, '}' | '\n' | ';')) {
                    word.push(inner);
                }
                word.extend(self.chars.next_if_eq(&'}'));
            }
        }
        word
    }

    /// Passes over a block in another language.
    fn skip_block(&mut self) -> Result<(), ImportError> {
        let begun = self.line;
        let mut depth = 1usize;
        while depth > 0 {
            match self.next() {
                Some('{') => depth += 1,
                Some('}') => depth -= 1,
                Some(_) => {}
                None => return Err(wrong(begun, "a block begins here and is not closed")),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_words_quotes_comments_and_blocks() {
        let text = "a 'b; c' \"d\\\"e\"; # x { ;\nblock one {\n  in${ner}x 1;\n  deep { }\n}\n";
        let found = parse(text).unwrap();
        assert_eq!(found[0].words, ["a", "b; c", "d\"e"]);
        assert_eq!((found[1].line, found[1].said().as_str()), (2, "block one"));
        let inner = found[1].inner();
        assert_eq!((inner[0].line, inner[0].said().as_str()), (3, "in${ner}x 1"));
        assert!(inner[1].block.as_ref().unwrap().is_empty());
        let lua = parse("content_by_lua_block { if a then { b = 1 } end }\nx 1;").unwrap();
        assert_eq!((lua.len(), lua[1].line), (2, 2));
    }

    #[test]
    fn says_where_a_file_is_broken() {
        let deep = "a {".repeat(40);
        let table = [
            ("a 1;\nb 2\n", "line 2: `b 2` is not ended by `;`"),
            ("a {\n b 1;\n", "line 1: the block `a` is not closed"),
            ("a 1;\n}\n", "line 2: `}` closes no block"),
            ("a {\n b\n}", "line 2: `b` is not ended by `;`"),
            ("a \"b\n\n", "line 1: a quote is opened here and not closed"),
            ("{ a; }", "line 1: a block begins here without a name"),
            (deep.as_str(), "line 1: blocks are nested too deep"),
            ("x_by_lua_block {\n", "line 1: a block begins here and is not closed"),
        ];
        for (text, expected) in table {
            assert_eq!(parse(text).unwrap_err().to_string(), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_an_answer(text in "[a-z0-9 \\n{};\"'#$\\\\]{0,200}") {
            parse(&text).ok();
        }
    }
}
