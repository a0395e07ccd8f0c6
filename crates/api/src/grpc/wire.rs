//! Between the model and the messages: requests are read, answers are written.
//!
//! A message of a client may mean nothing here, and is refused by the name of its field.

mod audit;
mod container;
mod enums;
mod listed;
mod policy;
mod report;
mod request;
mod restore;
mod things;

#[cfg(test)]
mod tests;

use jiff::Timestamp;
use prost_types::Timestamp as TimestampMessage;

pub(super) use container::container;
pub(super) use request::{namespace_or, options};

/// A message means nothing to us.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct WireError {
    /// What is wrong.
    pub field: &'static str,
    /// Why.
    pub problem: String,
}

impl WireError {
    #[expect(clippy::needless_pass_by_value, reason = "for errors as they come")]
    fn new(field: &'static str, problem: impl ToString) -> Self {
        Self {
            field,
            problem: problem.to_string(),
        }
    }

    pub(super) fn missing(field: &'static str) -> Self {
        Self::new(field, "it is missing")
    }
}

/// Reads a text as what it should be.
fn parsed<T: std::str::FromStr<Err: ToString>>(
    field: &'static str,
    text: &str,
) -> Result<T, WireError> {
    text.parse()
        .map_err(|error: T::Err| WireError::new(field, error))
}

pub(super) fn moment(timestamp: Timestamp) -> TimestampMessage {
    let mut seconds = timestamp.as_second();
    let mut nanos = timestamp.subsec_nanosecond();
    // Nanoseconds of a message count forward, always.
    if nanos < 0 {
        seconds -= 1;
        nanos += 1_000_000_000;
    }
    TimestampMessage { seconds, nanos }
}

pub(super) fn size(number: usize) -> u64 {
    number as u64
}
