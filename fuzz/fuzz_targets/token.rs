//! A token that is read is written the same; expirations keep their moment.
#![no_main]

use bootstrap::kubeadm::{BootstrapToken, Expiration};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(token) = text.parse::<BootstrapToken>() {
        assert_eq!(token.to_text().as_str(), text);
    }
    if let Ok(expiration) = text.parse::<Expiration>() {
        let again: Expiration = expiration
            .to_string()
            .parse()
            .expect("what is shown is read");
        assert_eq!(again.to_string(), expiration.to_string());
    }
});
