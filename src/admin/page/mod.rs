//! `/`: the status page for people, one file without any other request than the events.
//!
//! It is drawn here as a whole, so that it says everything without JavaScript too; its script then
//! draws it anew with each status. Names of members are hostile input: whatever is put into the page
//! is escaped, and a strict policy lets run nothing but the page's own script.

mod draw;

use std::fmt::Write;
use std::sync::LazyLock;

use data_encoding::BASE64;
use hyper::StatusCode;
use hyper::header::{
    CONTENT_SECURITY_POLICY, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use ring::digest::{SHA256, digest};

use super::Report;
use super::routes::{Answer, response};

const HTML: &str = "text/html; charset=utf-8";

/// The page, with `{{name}}` where something is drawn.
const TEMPLATE: &str = include_str!("page.html");

/// What the browser may do: run this very script, use this very style, ask us.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = |tag: &str| {
        let content = between(TEMPLATE, &format!("<{tag}>"), &format!("</{tag}>"));
        format!("'sha256-{}'", BASE64.encode(digest(&SHA256, content.as_bytes()).as_ref()))
    };
    let (style, script) = (hash("style"), hash("script"));
    format!(
        "default-src 'none'; script-src {script}; style-src {style}; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
});

/// The answer to `GET /`.
pub(super) fn answer(report: &Report) -> Answer {
    let events = report.balancer().journal().kept();
    let page = filled(TEMPLATE, &draw::Drawing { status: &report.status(), events: &events });
    let mut answer = response(StatusCode::OK, HTML, page);
    let headers = answer.headers_mut();
    if let Ok(policy) = HeaderValue::from_str(&POLICY) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let rest = text.split_once(start).map_or("", |(_, rest)| rest);
    rest.split_once(end).map_or("", |(content, _)| content)
}

/// The template with its places filled, in one pass: what is put in is not looked at again.
fn filled(template: &str, drawing: &draw::Drawing<'_>) -> String {
    let mut page = String::with_capacity(2 * template.len());
    let mut rest = template;
    while let Some((before, place)) = rest.split_once("{{") {
        let Some((name, after)) = place.split_once("}}") else {
            break;
        };
        page.push_str(before);
        page.push_str(&drawing.place(name));
        rest = after;
    }
    page.push_str(rest);
    page
}

/// Text as HTML shows it, in an element or a quoted attribute.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' | '<' | '>' | '"' | '\'' => {
                // Writing to a String cannot fail.
                write!(safe, "&#{};", u32::from(c)).ok();
            }
            _ => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests;
