//! The one place that reads the time.

use jiff::Timestamp;

/// Returns the present moment. Each run reads it once for its inventory.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub fn now() -> Timestamp {
    std::time::SystemTime::now()
        .try_into()
        .unwrap_or(Timestamp::UNIX_EPOCH)
}
