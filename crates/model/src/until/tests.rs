//! Docker's own table of `until` values, and what it leaves out.

use proptest::prelude::*;

use super::*;

const NOW: &str = "2020-01-02T03:04:05.123456789Z";

fn context(offset: Offset) -> TimeContext {
    TimeContext {
        now: NOW.parse().unwrap(),
        offset,
    }
}

#[track_caller]
fn check(text: &str, offset: Offset, expected: &str) {
    let parsed = parse_until(text, &context(offset));
    assert_eq!(parsed, Ok(expected.parse().unwrap()), "{text} at {offset}");
}

#[test]
fn parses_dates_as_docker_does() {
    for (text, expected) in [
        (
            "2006-01-02T15:04:05.999999999+07:00",
            "2006-01-02T08:04:05.999999999Z",
        ),
        (
            "2006-01-02T15:04:05.999999999Z",
            "2006-01-02T15:04:05.999999999Z",
        ),
        (
            "2006-01-02T15:04:05.999999999",
            "2006-01-02T15:04:05.999999999Z",
        ),
        ("2006-01-02T15:04:05Z", "2006-01-02T15:04:05Z"),
        ("2006-01-02T15:04:05", "2006-01-02T15:04:05Z"),
        ("2006-01-02T15:04Z", "2006-01-02T15:04:00Z"),
        ("2006-01-02T15:04+00:00", "2006-01-02T15:04:00Z"),
        ("2006-01-02T15:04-00:00", "2006-01-02T15:04:00Z"),
        ("2006-01-02T15:04", "2006-01-02T15:04:00Z"),
        ("2006-01-02T15Z", "2006-01-02T15:00:00Z"),
        ("2006-01-02T15+00:00", "2006-01-02T15:00:00Z"),
        ("2006-01-02T15-00:00", "2006-01-02T15:00:00Z"),
        ("2006-01-02T15", "2006-01-02T15:00:00Z"),
        ("2006-01-02T1Z", "2006-01-02T01:00:00Z"),
        ("2006-01-02T1", "2006-01-02T01:00:00Z"),
        ("2006-01-02+00:00", "2006-01-02T00:00:00Z"),
        ("2006-01-02-00:00", "2006-01-02T00:00:00Z"),
        ("2006-01-02-00:01", "2006-01-02T00:01:00Z"),
        ("2006-01-02Z", "2006-01-02T00:00:00Z"),
        ("2006-01-02", "2006-01-02T00:00:00Z"),
        ("2015-05-13T20:39:09Z", "2015-05-13T20:39:09Z"),
        // Not in Docker's table; by reading Go's rules.
        ("2006-01-02T15:04:05.5", "2006-01-02T15:04:05.5Z"),
        ("2006-01-02T15:04:05,5Z", "2006-01-02T15:04:05.5Z"),
        (
            "2006-01-02T15:04:05.1234567899Z",
            "2006-01-02T15:04:05.123456789Z",
        ),
        ("2006-01-02T15:04:05-01:30", "2006-01-02T16:34:05Z"),
        ("2006-01-02+24:60", "2005-12-31T23:00:00Z"),
        ("2004-02-29", "2004-02-29T00:00:00Z"),
        ("0000-01-01", "0000-01-01T00:00:00Z"),
    ] {
        check(text, Offset::UTC, expected);
    }
}

#[test]
fn parses_unix_seconds_as_docker_does() {
    for (text, expected) in [
        ("1136073600", "2006-01-01T00:00:00Z"),
        ("1136073600.", "2006-01-01T00:00:00Z"),
        ("1136073600.0", "2006-01-01T00:00:00Z"),
        ("1136073600.000000001", "2006-01-01T00:00:00.000000001Z"),
        ("1136073600.0000000019", "2006-01-01T00:00:00.000000001Z"),
        ("1136073600.00000001", "2006-01-01T00:00:00.00000001Z"),
        ("1136073600.5", "2006-01-01T00:00:00.5Z"),
        ("1136073600.00000000000000000001", "2006-01-01T00:00:00Z"),
        ("0", "1970-01-01T00:00:00Z"),
        ("10", "1970-01-01T00:00:10Z"),
        ("+10", "1970-01-01T00:00:10Z"),
        ("2006", "1970-01-01T00:33:26Z"),
    ] {
        check(text, Offset::UTC, expected);
        check(text, Offset::constant(5), expected);
    }
}

#[test]
fn counts_ages_back_from_now() {
    for (text, expected) in [
        ("-1m", "2020-01-02T03:05:05.123456789Z"),
        ("0m", NOW),
        ("+0", NOW),
        ("1m", "2020-01-02T03:03:05.123456789Z"),
        ("1.5h", "2020-01-02T01:34:05.123456789Z"),
        ("1h30m", "2020-01-02T01:34:05.123456789Z"),
        ("+24h", "2020-01-01T03:04:05.123456789Z"),
        ("-24h", "2020-01-03T03:04:05.123456789Z"),
        ("1ns", "2020-01-02T03:04:05.123456788Z"),
        ("1µs", "2020-01-02T03:04:05.123455789Z"),
    ] {
        check(text, Offset::UTC, expected);
        check(text, Offset::constant(-8), expected);
    }
}

#[test]
fn takes_dates_without_a_zone_as_local() {
    let india = Offset::from_seconds(5 * 3_600 + 1_800).unwrap();
    for (text, offset, expected) in [
        ("2006-01-02", india, "2006-01-01T18:30:00Z"),
        ("2006-01-02T15", india, "2006-01-02T09:30:00Z"),
        ("2006-01-02T15:04", india, "2006-01-02T09:34:00Z"),
        (
            "2006-01-02T15:04:05",
            Offset::constant(-8),
            "2006-01-02T23:04:05Z",
        ),
        (
            "2006-01-02T15:04:05.25",
            Offset::constant(-8),
            "2006-01-02T23:04:05.25Z",
        ),
        ("2006-01-02Z", india, "2006-01-02T00:00:00Z"),
        ("2006-01-02T15:04+01:00", india, "2006-01-02T14:04:00Z"),
    ] {
        check(text, offset, expected);
    }
}

#[test]
fn rejects_in_dockers_words() {
    const NEITHER: &str = "failed to parse value as time or duration: ";
    for (text, message) in [
        ("", "value is empty"),
        (" \t", "value is empty"),
        ("1d", r#"invalid seconds "1d": invalid syntax"#),
        ("invalid", r#"invalid seconds "invalid": invalid syntax"#),
        ("foo.bar", r#"invalid seconds "foo": invalid syntax"#),
        (".5", r#"invalid seconds "": invalid syntax"#),
        (
            " 1136073600 \t",
            r#"invalid seconds " 1136073600 \t": invalid syntax"#,
        ),
        (
            "9999999999999999999x",
            r#"invalid seconds "9999999999999999999x": invalid syntax"#,
        ),
        (
            "99999999999999999999x",
            r#"invalid seconds "99999999999999999999x": value out of range"#,
        ),
        ("+", r#"invalid seconds "+": invalid syntax"#),
        (
            "9223372036854775808",
            r#"invalid seconds "9223372036854775808": value out of range"#,
        ),
        ("3000000h", r#"invalid seconds "3000000h": invalid syntax"#),
        (
            "1136073600.bar",
            "invalid nanoseconds: invalid character 'b' at position 0",
        ),
        (
            "1136073600.000000001bar",
            "invalid nanoseconds: invalid character 'b' at position 9",
        ),
        (
            "1136073600.+1",
            "invalid nanoseconds: invalid character '+' at position 0",
        ),
        (
            "1136073600.000000000000000000001",
            "invalid nanoseconds: length 21 exceeds maximum 20",
        ),
    ] {
        let error = parse_until(text, &context(Offset::UTC)).unwrap_err();
        assert_eq!(error.to_string(), format!("{NEITHER}{message}"));
    }
}

#[test]
fn rejects_dates_in_gos_words() {
    for (text, problem) in [
        (
            "2006-01-02T15:04:0Z",
            r#" as "2006-01-02T15:04:05Z07:00": cannot parse "0Z" as "05""#,
        ),
        (
            "2006-01-02T15:04:0",
            r#" as "2006-01-02T15:04:05": cannot parse "0" as "05""#,
        ),
        (
            "2006-01-02T15:0Z",
            r#" as "2006-01-02T15:04Z07:00": cannot parse "0Z" as "04""#,
        ),
        (
            "2006-01-02T15:0",
            r#" as "2006-01-02T15:04": cannot parse "0" as "04""#,
        ),
        (
            "2006-01-02TZ",
            r#" as "2006-01-02T15Z07:00": cannot parse "Z" as "15""#,
        ),
        (
            "2006-01-02T",
            r#" as "2006-01-02T15": cannot parse "" as "15""#,
        ),
        ("-5", r#" as "2006-01-02": cannot parse "-5" as "2006""#),
        (
            "2006-01-02T15:04:05+0700",
            r#" as "2006-01-02T15:04Z07:00": cannot parse ":05+0700" as "Z07:00""#,
        ),
        (
            "2006-1-02",
            r#" as "2006-01-02": cannot parse "1-02" as "01""#,
        ),
        (
            "2006-01-02z",
            r#" as "2006-01-02Z07:00": cannot parse "z" as "Z07:00""#,
        ),
        ("2006-01-02 15:04", r#": extra text: " 15:04""#),
        ("2006-13-02", ": month out of range"),
        ("2006-00-02", ": month out of range"),
        ("2006-02-30", ": day out of range"),
        ("2006-02-00", ": day out of range"),
        ("2006-01-02T24", ": hour out of range"),
        ("2006-01-02T23:60", ": minute out of range"),
        ("2006-01-02T23:59:60", ": second out of range"),
        ("2006-01-02+25:00", ": time zone offset hour out of range"),
        ("2006-01-02+00:61", ": time zone offset minute out of range"),
        ("2006-01-02T15:04:05.5.5", r#": extra text: ".5""#),
    ] {
        let error = parse_until(text, &context(Offset::UTC)).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("parsing time \"{text}\"{problem}")
        );
    }
}

#[test]
fn quotes_what_cannot_be_printed() {
    let error = parse_until("2006-01-02\t\"é", &context(Offset::UTC)).unwrap_err();
    let expected = r#"parsing time "2006-01-02\x09\"\xc3\xa9": extra text: "\x09\"\xc3\xa9""#;
    assert_eq!(error.to_string(), expected);
}

#[test]
fn stops_at_the_ends_of_time() {
    let late = TimeContext {
        now: Timestamp::MAX,
        offset: Offset::UTC,
    };
    let early = TimeContext {
        now: Timestamp::MIN,
        offset: Offset::UTC,
    };
    for (text, context, expected) in [
        ("9223372036854775807", late, Timestamp::MAX),
        ("9223372036854775807.999999999", late, Timestamp::MAX),
        ("9999-12-31T23:59:59.999999999-24:00", late, Timestamp::MAX),
        ("-1h", late, Timestamp::MAX),
        ("1h", early, Timestamp::MIN),
    ] {
        assert_eq!(parse_until(text, &context), Ok(expected), "{text}");
    }
}

proptest! {
    #[test]
    fn never_panics_on_any_text(text in any::<String>()) {
        let _outcome = parse_until(&text, &context(Offset::UTC));
    }

    #[test]
    fn never_panics_on_what_looks_like_a_date(
        text in "[0-9]{3,5}-[0-9]{2}-[0-9é]{2}(T[0-9]{1,2}(:[0-9]{2}){0,3})?([.,][0-9]*)?([-+zZé][0-9]{2}:[0-9]{2})?",
    ) {
        let _outcome = parse_until(&text, &context(Offset::UTC));
    }

    #[test]
    fn reads_a_printed_moment_back(
        // Years 0 to 9999 less a day at either end, because of the offset.
        second in -62_167_132_800_i64..253_402_120_800,
        nanosecond in 0..1_000_000_000,
        offset in -86_340_i32..86_340,
    ) {
        let offset = Offset::from_seconds(offset / 60 * 60).unwrap();
        let moment = Timestamp::new(second, nanosecond).unwrap();
        let zoned = moment.display_with_offset(offset).to_string();
        prop_assert_eq!(parse_until(&zoned, &context(Offset::UTC)), Ok(moment));
        let local = &zoned[..zoned.len() - "+00:00".len()];
        prop_assert_eq!(parse_until(local, &context(offset)), Ok(moment));
    }
}
