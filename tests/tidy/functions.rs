//! Finds the functions of a file by matching braces; enough for code that rustfmt has formatted.

/// One function with a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    /// Its name.
    pub(crate) name: String,
    /// Line of the `fn`, from 1.
    pub(crate) line: usize,
    /// Lines from the `fn` to the closing brace.
    pub(crate) lines: usize,
}

/// All functions of blanked code, nested ones too.
pub(crate) fn functions(code: &str) -> Vec<Function> {
    let begins = code.match_indices("fn ").filter(|(at, _)| {
        let before = code[..*at].chars().next_back();
        before.is_none_or(|c| !c.is_alphanumeric() && c != '_')
    });
    begins.filter_map(|(at, _)| function(code, at)).collect()
}

/// The function whose `fn` stands at `at`; `None` if it has no body.
fn function(code: &str, at: usize) -> Option<Function> {
    let rest = &code[at..];
    let name: String = rest[3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    let open = body(rest)?;
    let length = open + block(&rest[open..])?;
    let lines = |text: &str| text.matches('\n').count() + 1;
    Some(Function { name, line: lines(&code[..at]), lines: lines(&rest[..length]) })
}

/// Where the body begins: the first brace outside of brackets.
fn body(rest: &str) -> Option<usize> {
    let mut depth = 0;
    for (at, c) in rest.char_indices() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            '{' if depth == 0 => return Some(at),
            ';' if depth == 0 => return None,
            _ => {}
        }
        if depth < 0 {
            return None;
        }
    }
    None
}

/// The length of the block that begins with a brace.
fn block(rest: &str) -> Option<usize> {
    let mut depth = 0;
    for (at, c) in rest.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at + 1);
        }
    }
    None
}

#[test]
fn functions_are_found_with_their_lengths() {
    let code = "\
fn one() {}
trait T {
    fn declared(&self) -> [u8; 4];
    fn with_default(&self) {
        if true {
            let f: fn(u8) -> u8 = g;
        }
    }
}
pub async fn last<F: Fn(u8) -> [u8; 2]>(
    f: F,
) -> u8
where
    F: Send,
{
    fn inner() {
    }
    0
}
";
    let found: Vec<_> = functions(code)
        .into_iter()
        .map(|function| (function.name, function.line, function.lines))
        .collect();
    let expected = [("one", 1, 1), ("with_default", 4, 5), ("last", 10, 10), ("inner", 16, 2)];
    let expected = expected.map(|(name, line, lines)| (name.to_owned(), line, lines));
    assert_eq!(found, expected);
}
