//! Whole outputs as inline snapshots.

/// What differs between runs and hosts, and its name in snapshots of output. A run of spaces becomes
/// two, because the width of a column depends on its sizes.
pub(crate) const MASKS: [(&str, &str); 8] = [
    (r"sha256:[0-9a-f]{12,64}", "DIGEST"),
    (r"\b[0-9a-f]{12}\b", "ID"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME"),
    (r"(Less than a second|\d+ seconds?) ago", "AGE"),
    (r"\b\d+(\.\d+)?[kMGTPE]?B\b", "SIZE"),
    (r"\(\d+%\)", "(PERCENT)"),
    (r"(/[\w.-]+)*/(\.tmp|reclaim-)\w+", "FOLDER"),
    (r"  +", "  "),
];

/// Compares output with an inline snapshot, in which [`MASKS`] are replaced.
macro_rules! assert_output_snapshot {
    ($output:expr, @$expected:literal) => {
        insta::with_settings!({filters => crate::output::MASKS.to_vec()}, {
            insta::assert_snapshot!($output, @$expected);
        })
    };
}
pub(crate) use assert_output_snapshot;
