//! Changes inputs at random, the same way for the same seed: enough to find what a parser forgot,
//! without a compiler that watches the code that runs.

use fastrand::Rng;

/// Longest input that comes out. What depends on length is quadratic long before that.
const BYTES_MAX: usize = 16 * 1024;

/// Most changes of one input: a few keep most of its form, which leads deeper.
const CHANGES_MAX: usize = 6;

/// What stands at the edges of numbers and lengths.
const NUMBERS: [&str; 10] = [
    "0",
    "1",
    "-1",
    "255",
    "256",
    "65535",
    "65536",
    "4294967296",
    "9223372036854775808",
    "18446744073709551615",
];

/// A change of one of the inputs; `inputs` is not empty.
#[must_use]
pub fn mutated(inputs: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = one_of(inputs, rng).clone();
    for _ in 0..rng.usize(1..=CHANGES_MAX) {
        change(&mut bytes, inputs, rng);
    }
    bytes.truncate(BYTES_MAX);
    bytes
}

fn one_of<'a>(inputs: &'a [Vec<u8>], rng: &mut Rng) -> &'a Vec<u8> {
    &inputs[rng.usize(..inputs.len())]
}

fn change(bytes: &mut Vec<u8>, inputs: &[Vec<u8>], rng: &mut Rng) {
    let at = rng.usize(..=bytes.len());
    let part = part(bytes, rng);
    match rng.u8(..9) {
        0 if !part.is_empty() => bytes[part.start] ^= 1 << rng.u8(..8),
        1 if !part.is_empty() => bytes[part.start] = rng.u8(..),
        2 => drop(bytes.drain(part)),
        3 => {
            let copy = bytes[part].to_vec();
            bytes.splice(at..at, copy);
        }
        4 => bytes.truncate(at),
        5 => {
            let length = 1 << rng.u8(..8);
            bytes.splice(at..at, std::iter::repeat_n(rng.u8(..), length));
        }
        6 => {
            let number = NUMBERS[rng.usize(..NUMBERS.len())];
            bytes.splice(digits(bytes, at), number.bytes());
        }
        7 => bytes.insert(at, b"\n\0 \"'{}[]:;,#=\\-.\xff"[rng.usize(..18)]),
        _ => {
            let other = one_of(inputs, rng);
            let wanted = self::part(other, rng);
            bytes.splice(part, other[wanted].iter().copied());
        }
    }
}

/// A part of the bytes, rather a short one.
fn part(bytes: &[u8], rng: &mut Rng) -> std::ops::Range<usize> {
    let begin = rng.usize(..=bytes.len());
    let most = 1 << rng.u8(..10);
    begin..bytes.len().min(begin + rng.usize(..=most))
}

/// The digits around or after a place; nothing at that place if there are none.
fn digits(bytes: &[u8], at: usize) -> std::ops::Range<usize> {
    let is_digit = |byte: &u8| byte.is_ascii_digit();
    let Some(begin) = bytes[at..].iter().position(is_digit) else { return at..at };
    let begin = at + begin;
    let end = bytes[begin..].iter().position(|byte| !is_digit(byte));
    begin..end.map_or(bytes.len(), |end| begin + end)
}

/// A shorter input of those that still fail.
pub fn shortened(bytes: &[u8], fails: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut best = bytes.to_vec();
    let mut step = best.len().next_power_of_two();
    while step > 0 {
        let mut at = 0;
        while at < best.len() {
            let mut fewer = best.clone();
            fewer.drain(at..best.len().min(at + step));
            if fails(&fewer) {
                best = fewer;
            } else {
                at += step;
            }
        }
        step /= 2;
    }
    best
}
