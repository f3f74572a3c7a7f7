//! The signature over `cluster-info`: a JWS with detached payload, HMAC-SHA256 with the token.

use data_encoding::BASE64URL_NOPAD;
use ring::hmac;
use subtle::ConstantTimeEq;

use super::token::{BootstrapToken, TokenId};

/// Signs `content`: `header..signature`, with the header spelled exactly as Kubernetes does,
/// since its verifier compares whole texts.
pub(super) fn sign(token: &BootstrapToken, content: &str) -> String {
    detached(token.id(), token.secret().as_bytes(), content)
}

/// Whether `signature` is what [`sign`] gives, compared as text and in constant time.
pub(super) fn verify(token: &BootstrapToken, content: &str, signature: &str) -> bool {
    sign(token, content).as_bytes().ct_eq(signature.as_bytes()).into()
}

fn detached(id: &TokenId, secret: &[u8], content: &str) -> String {
    let header = format!(r#"{{"alg":"HS256","kid":"{id}"}}"#);
    let header = BASE64URL_NOPAD.encode(header.as_bytes());
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let mut signing = hmac::Context::with_key(&key);
    signing.update(header.as_bytes());
    signing.update(b".");
    signing.update(BASE64URL_NOPAD.encode(content.as_bytes()).as_bytes());
    format!("{header}..{}", BASE64URL_NOPAD.encode(signing.sign().as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expectations of Kubernetes' own unit test, whose secret is not of a token's form.
    #[test]
    fn equals_upstreams_expectations() {
        let id = "joshua".parse().unwrap();
        let secret = b"my voice is my passcode";
        let content = "Hello from the other side. I must have called a thousand times.";
        assert_eq!(
            detached(&id, secret, content),
            "eyJhbGciOiJIUzI1NiIsImtpZCI6Impvc2h1YSJ9..VShe2taLd-YTrmWuRkcL_8QTNDHYxQIEBsAYYiIj1_8"
        );
        assert_eq!(
            detached(&id, secret, ""),
            "eyJhbGciOiJIUzI1NiIsImtpZCI6Impvc2h1YSJ9..7Ui1ALizW4jXphVUB7xUqC9vLYLL9RZeOFfVLoB7Tgk"
        );
    }
}
