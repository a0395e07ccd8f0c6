//! What whoever runs a test asks of it by the environment.

/// Returns the number that the environment has under `name`, or `None` if it does not.
///
/// # Panics
///
/// If it is not a number: a campaign that ran with another than was asked for would mislead.
#[expect(
    clippy::disallowed_methods,
    reason = "who runs a test says how much; nothing but tests asks here"
)]
pub fn asked_number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|error| panic!("{name}={text}: {error}")))
}
