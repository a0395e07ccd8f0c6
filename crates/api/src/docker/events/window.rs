//! The time window of events.

use std::time::Duration;

use jiff::Timestamp;

use crate::docker::error::ApiError;

const NANOS: i128 = 1_000_000_000;

/// A time window, in nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    since: Option<i128>,
    until: Option<i128>,
}

impl Window {
    /// Parses both ends: Unix seconds with an optional fraction, or an empty text.
    pub(super) fn parse(since: &str, until: &str) -> Result<Self, ApiError> {
        let window = Self {
            since: moment("since", since)?,
            until: moment("until", until)?,
        };
        if let (Some(begin), Some(end)) = (window.since, window.until)
            && begin > end
        {
            return Err(ApiError::bad(format!(
                "`since` time ({since}) cannot be after `until` time ({until})"
            )));
        }
        Ok(window)
    }

    /// Whether the client wants past events: only if it gives an end of the window.
    pub(super) fn wants_past(self) -> bool {
        self.since.is_some() || self.until.is_some()
    }

    pub(super) fn contains(self, nanos: i64) -> bool {
        let nanos = i128::from(nanos);
        self.since.is_none_or(|since| nanos >= since)
            && self.until.is_none_or(|until| nanos <= until)
    }

    /// Whether the window is over at a time.
    pub(super) fn ends_before(self, nanos: i64) -> bool {
        self.until.is_some_and(|until| i128::from(nanos) > until)
    }

    /// Waits for the end of the window; forever if it has none.
    pub(super) async fn end(self) {
        let Some(until) = self.until else {
            return std::future::pending().await;
        };
        let left = until.saturating_sub(Timestamp::now().as_nanosecond());
        let left = u64::try_from(left).unwrap_or(if left < 0 { 0 } else { u64::MAX });
        tokio::time::sleep(Duration::from_nanos(left)).await;
    }
}

/// Parses `SECONDS` or `SECONDS.FRACTION`.
fn moment(name: &str, text: &str) -> Result<Option<i128>, ApiError> {
    if text.is_empty() {
        return Ok(None);
    }
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = fraction.get(..fraction.len().min(9)).unwrap_or_default();
    let parsed = seconds.parse::<i64>().ok().zip(if digits.is_empty() {
        Some(0)
    } else {
        let is_number = fraction.bytes().all(|byte| byte.is_ascii_digit());
        let nanos: Option<i128> = format!("{digits:0<9}").parse().ok();
        nanos.filter(|_| is_number)
    });
    let (seconds, nanos) = parsed.ok_or_else(|| {
        ApiError::bad(format!(
            "invalid `{name}`: `{text}`; expected Unix seconds, as in 1136073600.000000001"
        ))
    })?;
    Ok(Some(i128::from(seconds) * NANOS + nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_seconds_and_fractions() {
        let window = Window::parse("1.5", "2").unwrap();
        assert!(!window.contains(1_499_999_999));
        assert!(window.contains(1_500_000_000));
        assert!(window.contains(2_000_000_000));
        assert!(!window.contains(2_000_000_001));
        assert!(!Window::parse("", "").unwrap().wants_past());
        let longer = Window::parse("1.0000000019", "").unwrap();
        assert!(longer.contains(1_000_000_001));
    }

    #[test]
    fn refuses_invalid_times() {
        for text in ["x", "1.x", "1.2.3", " 1", "99999999999999999999", "1.é"] {
            let refused = Window::parse(text, "").unwrap_err();
            assert!(refused.message.contains(text), "{}", refused.message);
        }
        let refused = Window::parse("5", "3").unwrap_err().message;
        assert_eq!(refused, "`since` time (5) cannot be after `until` time (3)");
    }
}
