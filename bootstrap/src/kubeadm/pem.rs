//! PEM blocks. Own code because every buffer that held a private key must be wiped.

use data_encoding::BASE64;
use zeroize::Zeroizing;

/// Base64 characters on a line, as OpenSSL and Go write them.
const LINE: usize = 64;

/// One `-----BEGIN label-----` block.
pub(super) struct PemBlock {
    pub(super) label: String,
    pub(super) der: Zeroizing<Vec<u8>>,
}

/// All readable blocks, in order. Text between blocks, and blocks that are broken, are passed over
/// as Go does; so no block at all means that the file is not PEM.
pub(super) fn blocks(file: &[u8]) -> Vec<PemBlock> {
    let mut found = Vec::new();
    let mut open: Option<(&[u8], Zeroizing<Vec<u8>>)> = None;
    for line in file.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end) {
        if let Some(label) = boundary(line, b"-----BEGIN ") {
            // Room for the whole rest, so that no copy is left behind by growing.
            open = Some((label, Zeroizing::new(Vec::with_capacity(file.len()))));
        } else if let Some(label) = boundary(line, b"-----END ") {
            found.extend(open.take().filter(|(begun, _)| *begun == label).and_then(decode));
        } else if let Some((_, body)) = &mut open
            && !line.contains(&b':')
        {
            body.extend_from_slice(line);
        }
    }
    found
}

/// Writes one block, with 64 characters a line and a final newline.
pub(super) fn encode(label: &str, der: &[u8]) -> Zeroizing<Vec<u8>> {
    let base64 = Zeroizing::new(BASE64.encode(der));
    let mut text = Zeroizing::new(Vec::with_capacity(base64.len() * 2 + 4 * LINE));
    text.extend_from_slice(format!("-----BEGIN {label}-----\n").as_bytes());
    for line in base64.as_bytes().chunks(LINE) {
        text.extend_from_slice(line);
        text.push(b'\n');
    }
    text.extend_from_slice(format!("-----END {label}-----\n").as_bytes());
    text
}

/// The label of a boundary line.
fn boundary<'a>(line: &'a [u8], start: &[u8]) -> Option<&'a [u8]> {
    line.strip_prefix(start)?.strip_suffix(b"-----")
}

/// Decodes a closed block.
fn decode((label, body): (&[u8], Zeroizing<Vec<u8>>)) -> Option<PemBlock> {
    let der = Zeroizing::new(BASE64.decode(&body).ok()?);
    Some(PemBlock { label: String::from_utf8(label.to_vec()).ok()?, der })
}
