//! The table of `kubeadm token list`, cell by cell and blank by blank.

use jiff::Timestamp;
use zeroize::{Zeroize, Zeroizing};

use super::expiration::short_human_duration;
use super::token_secret::TokenSecret;

/// The columns, in kubeadm's order.
const HEADER: [&str; 6] = ["TOKEN", "TTL", "EXPIRES", "USAGES", "DESCRIPTION", "EXTRA GROUPS"];

/// Widths that kubeadm pads three cells to before the table writer sees them.
const TTL_WIDTH: usize = 9;
const USAGES_WIDTH: usize = 22;
const DESCRIPTION_WIDTH: usize = 56;

/// Settings of kubeadm's table writer: least width of a cell, and blanks after the widest.
const MIN_WIDTH: usize = 10;
const PADDING: usize = 3;

/// Room for one row; the usual one has 180 bytes.
const ROW_BYTES: usize = 512;

/// A rendered table. It shows whole tokens, so it is wiped on drop.
pub type TokenTable = Zeroizing<String>;

/// Renders the rows in the given order, as kubeadm 1.20 to 1.36 do; no rows give no text at all.
///
/// kubeadm flushes its table writer after each row, so only the header and the first row share
/// their widths; later rows are as wide as themselves. One thing differs: control characters in a
/// description are shown as `?`, since they could rewrite the terminal.
#[must_use]
pub fn token_table(tokens: &[TokenSecret], now: Timestamp) -> TokenTable {
    // Room for all of it at once, so that growing leaves no copy of a token behind.
    let mut table = Zeroizing::new(String::with_capacity((tokens.len() + 1) * ROW_BYTES));
    let header = HEADER.map(str::to_owned);
    for (index, token) in tokens.iter().enumerate() {
        let mut row = cells(token, now);
        if index == 0 {
            write_lines(&mut table, &[&header, &row]);
        } else {
            write_lines(&mut table, &[&row]);
        }
        row.zeroize();
    }
    table
}

/// The cells of one token, already padded where kubeadm does.
fn cells(token: &TokenSecret, now: Timestamp) -> [String; 6] {
    let (ttl, expires) = match token.expiration {
        Some(expiration) => {
            let left = expiration.at().duration_since(now);
            (short_human_duration(left), expiration.to_string())
        }
        None => ("<forever>".to_owned(), "<never>".to_owned()),
    };
    let usages: Vec<_> = token.usages.iter().map(ToString::to_string).collect();
    let usages = or_none(usages.join(","));
    let description = or_none(token.description.clone());
    [
        token.token.to_text().to_string(),
        format!("{ttl:TTL_WIDTH$}"),
        expires,
        format!("{usages:USAGES_WIDTH$}"),
        format!("{description:DESCRIPTION_WIDTH$}"),
        or_none(token.groups.join(",")),
    ]
}

/// The text without control characters, or `<none>`.
fn or_none(text: String) -> String {
    if text.is_empty() {
        return "<none>".to_owned();
    }
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// Writes lines that share their column widths; the last cell of a line is not padded.
fn write_lines(table: &mut String, lines: &[&[String; 6]]) {
    let widths: Vec<_> = (0..HEADER.len()).map(|column| width(lines, column)).collect();
    for line in lines {
        for (cell, width) in line.iter().zip(&widths).take(HEADER.len() - 1) {
            table.push_str(cell);
            let blanks = width.saturating_sub(cell.chars().count());
            table.extend(std::iter::repeat_n(' ', blanks));
        }
        table.extend(line.last().map(String::as_str));
        table.push('\n');
    }
}

/// Width of a column with its padding.
fn width(lines: &[&[String; 6]], column: usize) -> usize {
    let widest = lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count());
    (widest.max().unwrap_or_default() + PADDING).max(MIN_WIDTH)
}
