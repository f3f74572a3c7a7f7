#!/bin/sh
# Builds the program without a dependency on a C library. It needs the Rust target, and a C compiler
# for musl, because ring has a few files of C.
set -eu

target=$(uname -m)-unknown-linux-musl
if command -v rustup >/dev/null 2>&1 && ! rustup target list --installed | grep -qx "$target"; then
    rustup target add "$target" || {
        echo "cannot fetch the Rust target $target; on Alpine Linux plain \`cargo build\` is static" >&2
        exit 69
    }
fi
command -v musl-gcc >/dev/null 2>&1 || {
    echo "there is no musl-gcc; install it with: apt-get install musl-tools" >&2
    exit 69
}
export "CC_$(echo "$target" | tr - _)=musl-gcc"
${CARGO:-cargo} build --release --bin mainstay --target "$target"
echo "${CARGO_TARGET_DIR:-target}/$target/release/mainstay"
