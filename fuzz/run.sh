#!/bin/sh
# Fuzzes every target, or the ones with TARGET in their name, for SECONDS in all: with cargo-fuzz if
# that and a nightly compiler are there, then by the mutations that the tests make on any compiler.
set -eu
cd "$(dirname "$0")/.."
seconds=$1
wanted=$2
case $seconds in
"" | *[!0-9]*)
    echo "SECONDS=$seconds is no number of seconds" >&2
    exit 64
    ;;
esac
targets=$(ls fuzz/corpora | grep -F -- "$wanted") || {
    echo "no target has '$wanted' in its name; TARGET is one of:" $(ls fuzz/corpora) >&2
    exit 64
}
if ! command -v cargo-fuzz >/dev/null; then
    echo "cargo-fuzz is not installed (cargo install cargo-fuzz): mutations without coverage only"
elif ! cargo +nightly --version >/dev/null 2>&1; then
    echo "there is no nightly compiler (rustup toolchain install nightly): mutations without coverage only"
else
    share=$((seconds / $(echo "$targets" | wc -l) + 1))
    for target in $targets; do
        mkdir -p "target/fuzz-corpora/$target"
        MAINSTAY_FUZZ_TARGET=$target cargo +nightly fuzz run --features libfuzzer libfuzzer \
            "target/fuzz-corpora/$target" "fuzz/corpora/$target" -- "-max_total_time=$share"
    done
fi
MAINSTAY_FUZZ_SECONDS=$seconds MAINSTAY_FUZZ_TARGET=$wanted \
    "${CARGO:-cargo}" test -p mainstay-fuzz -- --nocapture
