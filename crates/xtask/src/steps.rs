//! Steps of a task, with their times.

use std::time::{Duration, Instant};

use crate::failure::Failure;

/// The finished steps, with their times.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    done: Vec<(String, Duration)>,
}

impl Steps {
    /// Runs a step.
    ///
    /// # Errors
    ///
    /// If the step fails; the failure names it.
    pub(crate) fn step<T>(
        &mut self,
        name: &str,
        work: impl FnOnce() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        println!("\n== {name}");
        let start = now();
        let result = work();
        self.done.push((name.to_owned(), start.elapsed()));
        result.map_err(|failure| failure.within(&format!("step `{name}` failed")))
    }

    /// Prints the time of each step, and the total.
    pub(crate) fn print_times(&self) {
        println!("\n== times");
        let total: Duration = self.done.iter().map(|(_, time)| *time).sum();
        let names = self.done.iter().map(|(name, _)| name.len());
        let width = names.max().unwrap_or_default();
        for (name, time) in &self.done {
            println!("{name:width$}  {:>7.1} s", time.as_secs_f64());
        }
        println!("{:width$}  {:>7.1} s", "", total.as_secs_f64());
    }
}

#[expect(clippy::disallowed_methods, reason = "a stopwatch for the report")]
fn now() -> Instant {
    Instant::now()
}
