//! Which of the generator's times containerd understands, as a table.
//!
//! A parser would be the thing under test once more. The table was found by asking containerd.

/// A time, as seen from any test: years away on either side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    Past,
    Future,
}

/// Returns what Go's `time.Parse(time.RFC3339, …)` makes of a value; `None` if nothing.
pub(crate) fn moment(value: &str) -> Option<Moment> {
    match value {
        "2099-02-03T04:05:06Z" => Some(Moment::Future),
        "2021-02-03T04:05:06Z"
        // An hour may have one digit, a fraction a comma and any length, and a zone end at
        // 24:60: Go reads more than RFC 3339 allows.
        | "2021-02-03T4:05:06Z"
        | "2021-02-03T04:05:06,5Z"
        | "2021-02-03T04:05:06.1234567890123Z"
        | "2021-02-03T04:05:06+24:60" => Some(Moment::Past),
        _ => None,
    }
}

/// Whether one condition of a `gc.cond` label holds for a snapshot used at that moment.
pub(crate) fn holds(condition: &str, used_at: Moment) -> bool {
    match condition {
        "usedat<72h" | "usedat<-1h" => used_at == Moment::Future,
        "usedat>72h" | "usedat>1h30m" => used_at == Moment::Past,
        _ => false,
    }
}
