//! Between the model's nouns and the messages.
//!
//! Every value of the model has a message and comes back from it as it was; what comes from a
//! client or from an older or newer daemon may not mean anything, and is refused by name.

mod answer;
mod container;
mod enums;
mod hold;
mod listed;
mod named;
mod pin;
mod policy;
mod policy_run;
mod report;
mod request;
mod run_record;
mod things;
mod usage;

#[cfg(test)]
mod tests;

use jiff::{SignedDuration, Timestamp};
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

/// Converts a list.
fn list<M, T: TryFrom<M, Error = WireError>>(messages: Vec<M>) -> Result<Vec<T>, WireError> {
    messages.into_iter().map(T::try_from).collect()
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

fn timestamp(message: TimestampMessage) -> Result<Timestamp, WireError> {
    let whole = Timestamp::new(message.seconds, 0);
    let whole = whole.map_err(|error| WireError::new("timestamp", error))?;
    let nanos = SignedDuration::from_nanos(i64::from(message.nanos));
    whole
        .checked_add(nanos)
        .map_err(|error| WireError::new("timestamp", error))
}

fn some_timestamp(
    field: &'static str,
    message: Option<TimestampMessage>,
) -> Result<Timestamp, WireError> {
    timestamp(message.ok_or_else(|| WireError::missing(field))?)
}

fn size(number: usize) -> u64 {
    number as u64
}

fn count(field: &'static str, number: u64) -> Result<usize, WireError> {
    usize::try_from(number).map_err(|error| WireError::new(field, error))
}
