//! How long tasks of this machine wait for I/O, as the kernel reports it.
//!
//! Source: Linux, `Documentation/accounting/psi.rst`.

use std::fs;

const FILE: &str = "/proc/pressure/io";

/// Returns the percentage of the last ten seconds in which some task waited for I/O, or `None` if
/// the kernel does not report it.
pub(crate) fn io_pressure() -> Option<f64> {
    parse(&fs::read_to_string(FILE).ok()?)
}

fn parse(text: &str) -> Option<f64> {
    let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let mut words = some.split_whitespace();
    words.find_map(|it| it.strip_prefix("avg10="))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_last_ten_seconds_of_some() {
        let text = "some avg10=12.50 avg60=3.00 avg300=1.00 total=99\n\
                    full avg10=7.00 avg60=1.00 avg300=0.00 total=9\n";
        assert_eq!(parse(text), Some(12.5));
        for text in ["", "full avg10=7.00", "some avg60=1.00", "some avg10=much"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
