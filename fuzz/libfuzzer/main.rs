//! The targets under libFuzzer; `MAINSTAY_FUZZ_TARGET` chooses one.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use mainstay_fuzz::{Target, find};

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("MAINSTAY_FUZZ_TARGET").unwrap_or_default();
    find(&name).expect("MAINSTAY_FUZZ_TARGET names no target")
});

fuzz_target!(|input: &[u8]| (TARGET.run)(input));
