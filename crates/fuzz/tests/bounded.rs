//! Runs every target on its corpus, and on random variations of it.
//!
//! `RECLAIM_FUZZ_RUNS` is the number of variations for each target, `RECLAIM_FUZZ_SEED` the first seed.
//! A failure prints the seed and the bytes.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a failure ends the test, and the environment sets its size"
)]

use std::fs;
use std::path::PathBuf;

use reclaim_fuzz::TARGETS;

const RUNS: u64 = 30_000;

/// The directory of the corpora.
const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus");

/// Tokens of the parsers, which random bytes seldom contain.
const TOKENS: [&str; 30] = [
    "\"manifests\":[],",
    "\"layers\":[],",
    "\"config\":{},",
    "\"rootfs\":{},",
    "\"Labels\":",
    "\"fsLayers\":0,",
    "{",
    "}",
    "[",
    "]",
    "\"",
    ":",
    ",",
    "null",
    "true",
    "dangling",
    "label",
    "label!",
    "until",
    "sha256:",
    "@",
    "/",
    "%2F",
    "..",
    "T",
    "Z",
    "+",
    "-",
    "é",
    "\u{0}",
];

/// A generator of random numbers: `xorshift64*`.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(number).unwrap() % end.max(1)
    }
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let directory = PathBuf::from(CORPUS).join(name);
    let mut paths: Vec<PathBuf> = fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    assert!(paths.len() >= 5, "the corpus of {name} is too small");
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// Returns a variation of an input: removes, inserts, repeats or flips bytes, or joins another input.
fn varied(corpus: &[Vec<u8>], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = corpus[dice.below(corpus.len())].clone();
    for _ in 0..=dice.below(5) {
        let start = dice.below(bytes.len() + 1);
        let end = start + dice.below(bytes.len() + 1 - start);
        match dice.below(6) {
            0 => drop(bytes.drain(start..end)),
            1 => drop(bytes.splice(start..start, TOKENS[dice.below(TOKENS.len())].bytes())),
            2 => bytes.insert(start, u8::try_from(dice.below(256)).unwrap()),
            3 => {
                let repeated = bytes[start..end].to_vec();
                bytes.splice(start..start, repeated);
            }
            4 if start < bytes.len() => bytes[start] ^= 1 << dice.below(8),
            _ => {
                let other = &corpus[dice.below(corpus.len())];
                let from = dice.below(other.len() + 1);
                bytes.truncate(start);
                bytes.extend(&other[from..]);
            }
        }
    }
    bytes.truncate(64 << 10);
    bytes
}

#[test]
fn no_target_fails_on_a_variation() {
    let runs = number("RECLAIM_FUZZ_RUNS", RUNS);
    let first = number("RECLAIM_FUZZ_SEED", 1);
    for target in TARGETS {
        let corpus = corpus(target.name);
        for bytes in &corpus {
            (target.run)(bytes);
        }
        for seed in first..first + runs {
            // Spreads neighbouring seeds.
            let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
            let bytes = varied(&corpus, &mut dice);
            let result = std::panic::catch_unwind(|| (target.run)(&bytes));
            assert!(
                result.is_ok(),
                "{}, seed {seed}: {:?}",
                target.name,
                String::from_utf8_lossy(&bytes)
            );
        }
    }
}
