//! The table of keys for people: as a page, and as the file that packages install.

use super::{KEYS, Key, Shape};

/// The table as the file that packages install: every key with its default, commented out.
#[must_use]
pub fn template() -> String {
    let mut text = String::from(
        "# Configuration of the Mainstay balancer. Every key is optional; what stands here behind `#` is\n\
         # the default. `mainstay check` prints what is in force and where it was set.\n",
    );
    let mut open = "";
    // Keys without a table come first: behind the head of a table they would belong to it.
    let (tables, top): (Vec<&Key>, Vec<&Key>) = KEYS.iter().partition(|key| key.name.contains('.'));
    for key in top.into_iter().chain(tables) {
        let (table, name) = key.name.rsplit_once('.').unwrap_or(("", key.name));
        if table != open {
            text.push_str(&format!("\n[{table}]\n"));
            open = table;
        }
        text.push('\n');
        for line in wrapped(key.doc) {
            text.push_str(&format!("# {line}\n"));
        }
        text.push_str(&format!("#{name} = {}\n", shown_default(key)));
    }
    text
}

/// A document of a key without its Markdown links, for pages that are no Markdown.
#[must_use]
pub fn plain(doc: &str) -> String {
    let mut text = String::new();
    let mut rest = doc;
    while let Some((before, link)) = rest.split_once('[') {
        text.push_str(before);
        match link.split_once("](").and_then(|(name, after)| Some((name, after.split_once(')')?.1)))
        {
            Some((name, after)) if !name.contains('`') => {
                text.push_str("docs/");
                text.push_str(name);
                rest = after;
            }
            _ => {
                text.push('[');
                rest = link;
            }
        }
    }
    text + rest
}

/// The text in lines of at most 96 letters.
fn wrapped(doc: &str) -> Vec<String> {
    const WIDTH: usize = 96;
    let mut lines = vec![String::new()];
    for word in plain(doc).split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.len() + 1 + word.len() <= WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

fn shown_default(key: &Key) -> String {
    match key.shape {
        Shape::Text => format!("\"{}\"", key.default),
        Shape::Number | Shape::Switch => key.default.to_owned(),
        Shape::List if key.default.is_empty() => "[]".to_owned(),
        Shape::List => format!("[\"{}\"]", key.default.replace(' ', "\", \"")),
    }
}

/// The table as the Markdown of `docs/config.md`.
#[must_use]
pub fn reference() -> String {
    let mut text =
        String::from("| key | default | flag | reload | meaning |\n|---|---|---|---|---|\n");
    for key in KEYS {
        let default = format!("`{}`", shown_default(key));
        let flag = if key.flag.is_empty() { String::new() } else { format!("`{}`", key.flag) };
        let reload = if key.reload { "yes" } else { "restart" };
        text.push_str(&format!(
            "| `{}` | {default} | {flag} | {reload} | {} |\n",
            key.name, key.doc
        ));
    }
    text
}
