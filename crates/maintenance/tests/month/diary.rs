//! The events of a month, for a person who reads its failure.

use std::fmt;

use crate::clock::Clock;

/// How many lines are shown, from the end.
const SHOWN: usize = 120;

/// A broken promise, as text.
#[derive(Debug)]
pub(crate) struct Broken(pub(crate) String);

/// Returns an error unless the promise holds.
pub(crate) fn hold(is_kept: bool, words: impl FnOnce() -> String) -> Result<(), Broken> {
    if is_kept {
        Ok(())
    } else {
        Err(Broken(words()))
    }
}

/// The events of a month, one a line.
#[derive(Debug, Default)]
pub(crate) struct Diary {
    lines: Vec<String>,
}

impl Diary {
    pub(crate) fn write(&mut self, clock: &Clock, text: &str) {
        let days = clock.passed().as_secs() / 86_400;
        let seconds = clock.passed().as_secs() % 86_400;
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        let says = clock.now().strftime("%Y-%m-%d %H:%M:%S");
        self.lines.push(format!(
            "day {days:2} {hour:02}:{minute:02}:{second:02} (clock {says})  {text}"
        ));
    }
}

impl fmt::Display for Diary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = self.lines.len().saturating_sub(SHOWN);
        if first > 0 {
            writeln!(formatter, "({first} earlier events)")?;
        }
        let mut lines = self.lines[first..].iter();
        lines.try_for_each(|line| writeln!(formatter, "{line}"))
    }
}

impl Drop for Diary {
    /// A panic in what is tested has a month that led to it, too.
    #[expect(
        clippy::print_stderr,
        reason = "a panic shows nothing else of the month"
    )]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{self}");
        }
    }
}
