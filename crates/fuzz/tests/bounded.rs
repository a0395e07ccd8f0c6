//! Every target on its corpus, and on as many variations of it as there is time for.
//!
//! `RECLAIM_FUZZ_RUNS` says how many for each, `RECLAIM_FUZZ_SEED` where to begin. A failure names
//! the seed and prints the bytes.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test ends where something is not as it says, and is told by the environment"
)]

use std::fs;
use std::path::PathBuf;

use reclaim_fuzz::TARGETS;

const RUNS: u64 = 30_000;

/// Where the corpora are.
const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus");

/// What the readers look for: random bytes seldom have it.
const WORDS: [&str; 30] = [
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

/// A stream of numbers that follows from its seed: `xorshift64*`.
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

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |it| it.parse().unwrap())
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let directory = PathBuf::from(CORPUS).join(name);
    let mut paths: Vec<PathBuf> = fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    assert!(
        paths.len() >= 5,
        "the corpus of {name} is too small to begin from"
    );
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// Changes bytes in a few places: takes out, puts in, repeats, or joins with another of the corpus.
fn varied(corpus: &[Vec<u8>], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = corpus[dice.below(corpus.len())].clone();
    for _ in 0..=dice.below(5) {
        let at = dice.below(bytes.len() + 1);
        let until = at + dice.below(bytes.len() + 1 - at);
        match dice.below(6) {
            0 => drop(bytes.drain(at..until)),
            1 => drop(bytes.splice(at..at, WORDS[dice.below(WORDS.len())].bytes())),
            2 => bytes.insert(at, u8::try_from(dice.below(256)).unwrap()),
            3 => {
                let again = bytes[at..until].to_vec();
                bytes.splice(at..at, again);
            }
            4 if at < bytes.len() => bytes[at] ^= 1 << dice.below(8),
            _ => {
                let other = &corpus[dice.below(corpus.len())];
                let from = dice.below(other.len() + 1);
                bytes.truncate(at);
                bytes.extend(&other[from..]);
            }
        }
    }
    bytes.truncate(64 << 10);
    bytes
}

#[test]
fn no_target_fails_on_any_variation() {
    let runs = number("RECLAIM_FUZZ_RUNS", RUNS);
    let first = number("RECLAIM_FUZZ_SEED", 1);
    for target in TARGETS {
        let corpus = corpus(target.name);
        for bytes in &corpus {
            (target.feed)(bytes);
        }
        for seed in first..first + runs {
            // Neighbouring seeds have nothing in common.
            let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
            let bytes = varied(&corpus, &mut dice);
            let fed = std::panic::catch_unwind(|| (target.feed)(&bytes));
            assert!(
                fed.is_ok(),
                "{}, seed {seed}: {:?}",
                target.name,
                String::from_utf8_lossy(&bytes)
            );
        }
    }
}
