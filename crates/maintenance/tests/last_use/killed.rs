//! Tests that kill a process at random moments while it saves uses.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::common::{Clock, seconds};

/// The variable with the writer's directory.
const DIRECTORY: &str = "RECLAIM_LAST_USE_WRITER";

/// How many images the writer uses, one after the other.
const IMAGES: u64 = 40;

/// How often it is killed with an existing file, and while making one.
const ROUNDS: u64 = 45;
const FIRST_ROUNDS: u64 = 15;

/// Returns the number of the last use in the file.
fn last(directory: &Path) -> Option<u64> {
    let index = Clock::at(0).open(directory).unwrap();
    (0..IMAGES).filter_map(|n| seconds(&index, n)).max()
}

/// Uses images one after the other, `rounds` times, and reports each saved use. Returns the number
/// of the next.
fn write(directory: &Path, rounds: Option<u64>, mut report: impl FnMut(u64)) -> u64 {
    let from = last(directory).map_or(0, |last| last + 1);
    let clock = Clock::at(from);
    let index = clock.open(directory).unwrap();
    let to = rounds.map_or(u64::MAX, |rounds| from + rounds);
    for n in from..to {
        clock.use_image(&index, n % IMAGES, n);
        index.save().unwrap();
        report(n);
    }
    to
}

/// As a test it writes a little. With the variable set it is the process that is killed.
#[test]
fn a_writer_continues_where_the_last_one_ended() {
    if let Some(directory) = env::var_os(DIRECTORY) {
        // Not by a macro: the harness would keep that for itself.
        let mut output = std::io::stdout();
        write(&PathBuf::from(directory), None, |n| {
            writeln!(output, "saved {n}").unwrap();
            output.flush().unwrap();
        });
    }
    let directory = tempfile::tempdir().unwrap();
    let mut told = Vec::new();
    assert_eq!(write(directory.path(), Some(3), |n| told.push(n)), 3);
    assert_eq!(told, [0, 1, 2]);
    assert_eq!(write(directory.path(), Some(IMAGES), |_| {}), 3 + IMAGES);
    let index = Clock::at(0).open(directory.path()).unwrap();
    assert_eq!(seconds(&index, 3), Some(3));
    assert_eq!(seconds(&index, 2), Some(2 + IMAGES));
}

/// A writer that ends with the test.
struct Writer(Child);

impl Drop for Writer {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl Writer {
    fn start(directory: &OsStr) -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args([
            "--exact",
            "killed::a_writer_continues_where_the_last_one_ended",
        ]);
        command.env(DIRECTORY, directory).stdout(Stdio::piped());
        Self(command.spawn().unwrap())
    }

    /// Kills it some time after it reported this many saves. Returns the last one.
    fn killed_after(mut self, lines: u64, later: Duration) -> Option<u64> {
        let mut output = BufReader::new(self.0.stdout.take().unwrap()).lines();
        let mut saved_last = None;
        let mut n = 0;
        let saved = |line: &str| line.strip_prefix("saved ").map(|it| it.parse().unwrap());
        while n < lines {
            let line = output
                .next()
                .expect("it writes until it is killed")
                .unwrap();
            if let Some(number) = saved(&line) {
                saved_last = Some(number);
                n += 1;
            }
        }
        // Not to wait for anything: any moment will do.
        thread::sleep(later);
        self.0.kill().unwrap();
        self.0.wait().unwrap();
        let rest = output.map_while(Result::ok);
        let rest: Vec<u64> = rest.filter_map(|line| saved(&line)).collect();
        rest.last().copied().or(saved_last)
    }
}

fn check(directory: &Path, saved_last: Option<u64>) {
    let index = Clock::at(0)
        .open(directory)
        .expect("it opens after every kill");
    let mut expected = BTreeMap::new();
    for number in saved_last.map_or(0..0, |last| 0..last + 1) {
        expected.insert(number % IMAGES, number);
    }
    for (n, number) in expected {
        let there = seconds(&index, n);
        assert!(
            there >= Some(number),
            "image {n}: {number} was saved, {there:?} is there"
        );
    }
}

#[test]
fn a_kill_loses_nothing_that_was_saved() {
    let directory = tempfile::tempdir().unwrap();
    // No two rounds alike; a prime walks through all of them.
    for round in 0..ROUNDS {
        let later = Duration::from_micros(round * 7_919 % 5_000);
        let writer = Writer::start(directory.path().as_os_str());
        let saved_last = writer.killed_after(1 + round * 7_919 % 13, later);
        check(directory.path(), saved_last);
    }
    let last = last(directory.path());
    assert!(last >= Some(ROUNDS), "each round saved something: {last:?}");
}

#[test]
fn a_kill_while_the_file_is_made_leaves_no_file_or_a_complete_one() {
    for round in 0..FIRST_ROUNDS {
        let directory = tempfile::tempdir().unwrap();
        let later = Duration::from_micros(round * 3_001 % 40_000);
        let writer = Writer::start(directory.path().as_os_str());
        let saved_last = writer.killed_after(0, later);
        check(directory.path(), saved_last);
    }
}
