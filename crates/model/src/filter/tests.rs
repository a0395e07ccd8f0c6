//! Tables of filters, and what Docker makes of them.

use jiff::tz::Offset;
use proptest::prelude::*;

use super::*;

fn context() -> TimeContext {
    TimeContext {
        now: "2020-01-02T03:04:05Z".parse().unwrap(),
        offset: Offset::UTC,
    }
}

fn prune_filters(json: &str) -> Result<PruneFilters, FilterError> {
    PruneFilters::from_args(&FilterArgs::from_json(json)?, &context())
}

fn age(text: &str) -> Timestamp {
    parse_until(text, &context()).unwrap()
}

#[test]
fn decodes_both_forms() {
    for (json, encoded) in [
        ("", "{}"),
        ("null", "{}"),
        ("{}", "{}"),
        (r#"{"a":["y","x","y"]}"#, r#"{"a":{"x":true,"y":true}}"#),
        (
            r#"{"a":{"y":true,"x":false}}"#,
            r#"{"a":{"x":false,"y":true}}"#,
        ),
        (r#" {"b":["x"], "a":[]} "#, r#"{"a":{},"b":{"x":true}}"#),
        (r#"{"b":null,"a":["x"]}"#, r#"{"a":{"x":true},"b":{}}"#),
        (
            r#"{"b":null,"a":{"x":null}}"#,
            r#"{"a":{"x":false},"b":{}}"#,
        ),
        (r#"{"a":[null]}"#, r#"{"a":{"":true}}"#),
    ] {
        let args = FilterArgs::from_json(json).expect(json);
        assert_eq!(args.to_json(), encoded);
    }
}

#[test]
fn knows_whether_and_which_keys_were_given() {
    let args = |json| FilterArgs::from_json(json).unwrap();
    assert!(args("{}").is_empty());
    let all = args(r#"{"a":["x"],"b":[],"c":["y","z"]}"#);
    assert!(!all.is_empty());
    assert_eq!(all.keys().collect::<Vec<_>>(), ["a", "b", "c"]);
    let only = all.only(&["c", "b", "d"]);
    assert_eq!(only, args(r#"{"b":[],"c":["y","z"]}"#));
    assert_eq!(only.values("c").collect::<Vec<_>>(), ["y", "z"]);
}

#[test]
fn rejects_other_documents() {
    for json in [
        "anything",
        "['a']",
        r#"{"key":"value"}"#,
        r#"{"dangling":true}"#,
        r#"{"a":["x"],"b":{"y":true}}"#,
        r#"{"a":{"x":1}}"#,
        r#"{"a":[1]}"#,
        "[]",
        "true",
        " ",
        r#"{"a":["x"]} x"#,
    ] {
        let error = FilterArgs::from_json(json).expect_err(json);
        assert_eq!(error.to_string(), "invalid filter");
    }
}

#[test]
fn reads_pairs_as_dockers_command_line_does() {
    for (pair, encoded) in [
        ("", "{}"),
        ("label=a=b", r#"{"label":{"a=b":true}}"#),
        ("label!=foo=bar", r#"{"label!":{"foo=bar":true}}"#),
        ("label!=x", r#"{"label!":{"x":true}}"#),
        (" LABEL = A ", r#"{"label":{"A":true}}"#),
        ("until=", r#"{"until":{"":true}}"#),
        ("=x", r#"{"":{"x":true}}"#),
    ] {
        let mut args = FilterArgs::default();
        args.add_pair(pair).expect(pair);
        assert_eq!(args.to_json(), encoded);
    }
    for pair in ["label", " ", "until:24h"] {
        let error = FilterArgs::default().add_pair(pair).expect_err(pair);
        assert_eq!(
            error.to_string(),
            "bad format of filter (expected name=value)"
        );
    }
}

#[test]
fn collects_pairs_into_sets() {
    let mut args = FilterArgs::default();
    for pair in ["label=b", "label=a", "label=b", "until=24h"] {
        args.add_pair(pair).unwrap();
    }
    assert_eq!(args.values("label").collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(args.values("reference").count(), 0);
    assert!(args.contains_key("until") && !args.contains_key("dangling"));
}

#[test]
fn reads_dangling_as_docker_does() {
    for (json, expected) in [
        ("{}", Ok(None)),
        (r#"{"dangling":["true"]}"#, Ok(Some(true))),
        (r#"{"dangling":["false"]}"#, Ok(Some(false))),
        (r#"{"dangling":["1"]}"#, Ok(Some(true))),
        (r#"{"dangling":["0"]}"#, Ok(Some(false))),
        (r#"{"dangling":["0","false"]}"#, Ok(Some(false))),
        (r#"{"dangling":["true","potato"]}"#, Ok(Some(true))),
        (
            r#"{"dangling":{"true":true,"false":false}}"#,
            Ok(Some(true)),
        ),
        (r#"{"dangling":["potato"]}"#, Err("=[potato]")),
        (
            r#"{"dangling":["potato","banana"]}"#,
            Err("=[banana potato]"),
        ),
        (r#"{"dangling":["true","false"]}"#, Err("=[false true]")),
        (
            r#"{"dangling":["true","1","false"]}"#,
            Err("=[1 false true]"),
        ),
        (r#"{"dangling":{"true":false}}"#, Err("=[true]")),
        (r#"{"dangling":["True"]}"#, Err("=[True]")),
        (r#"{"dangling":{}}"#, Err("")),
        (r#"{"dangling":[]}"#, Err("")),
        (r#"{"dangling":null}"#, Err("")),
    ] {
        let read = prune_filters(json).map(|filters| filters.dangling);
        let expected = expected.map_err(|values| format!("invalid filter 'dangling{values}'"));
        assert_eq!(read.map_err(|error| error.to_string()), expected, "{json}");
    }
}

#[test]
fn prunes_only_dangling_images_unless_told_otherwise() {
    for (json, expected) in [
        ("", true),
        (r#"{"dangling":["true"]}"#, true),
        (r#"{"dangling":["false"]}"#, false),
    ] {
        assert_eq!(prune_filters(json).unwrap().dangling_only(), expected);
    }
}

#[test]
fn names_the_first_key_that_is_not_accepted() {
    for (json, key, message) in [
        (
            r#"{"reference":["x"]}"#,
            "reference",
            "invalid filter 'reference'",
        ),
        (
            r#"{"since":["x"],"before":["x"]}"#,
            "before",
            "invalid filter 'before'",
        ),
        (r#"{"Label":["x"]}"#, "Label", "invalid filter 'Label'"),
        (r#"{"":["x"]}"#, "", "invalid filter"),
        (
            r#"{"foo":[],"dangling":["x"],"until":["x"]}"#,
            "foo",
            "invalid filter 'foo'",
        ),
    ] {
        let error = prune_filters(json).expect_err(json);
        assert_eq!(error.unknown_key(), Some(key));
        assert_eq!(error.to_string(), message);
    }
    assert!(PRUNE_FILTER_KEYS.is_sorted());
}

#[test]
fn checks_in_dockers_order() {
    let long = "x".repeat(4097);
    for (json, beginning) in [
        (
            format!(r#"{{"dangling":["x"],"until":["x"],"label":["{long}"]}}"#),
            "invalid filter 'dangling=[x]'",
        ),
        (
            format!(r#"{{"until":["1d"],"label":["{long}"]}}"#),
            "invalid value for 'until' filter: failed to parse value as time or duration: \
             invalid seconds \"1d\": invalid syntax",
        ),
        (
            r#"{"until":[""]}"#.to_owned(),
            "invalid value for 'until' filter: failed to parse value as time or duration: \
             value is empty",
        ),
        (
            format!(r#"{{"label!":["{long}"]}}"#),
            "label key and value length (4097 bytes) greater than maximum size (4096 bytes), \
             key: xxx",
        ),
    ] {
        let message = prune_filters(&json).unwrap_err().to_string();
        assert!(message.starts_with(beginning), "{message}");
    }
}

#[test]
fn takes_the_earliest_of_several_moments() {
    for (json, expected) in [
        (r#"{"until":{}}"#, None),
        (r#"{"until":["24h"]}"#, Some(age("24h"))),
        (r#"{"until":["24h","48h","1h"]}"#, Some(age("48h"))),
        (r#"{"until":{"24h":false}}"#, Some(age("24h"))),
    ] {
        assert_eq!(prune_filters(json).unwrap().until, expected, "{json}");
    }
}

#[test]
fn keeps_an_image_created_exactly_at_the_moment() {
    let filters = prune_filters(r#"{"until":["24h"]}"#).unwrap();
    for (created, expected) in [
        ("24h", false),
        ("24h1ns", true),
        ("23h59m59.999999999s", false),
        ("-1h", false),
    ] {
        assert_eq!(filters.is_old_enough(age(created)), expected, "{created}");
    }
    assert!(PruneFilters::default().is_old_enough(Timestamp::MAX));
}

#[test]
fn asks_for_every_label_whatever_its_flag() {
    for json in [
        r#"{"label":["x","y=1"],"label!":["z"]}"#,
        r#"{"label":{"x":true,"y=1":true},"label!":{"z":true}}"#,
        r#"{"label":{"x":false,"y=1":false},"label!":{"z":false}}"#,
    ] {
        let filters = prune_filters(json).unwrap();
        for (labels, expected) in [
            (&[("x", ""), ("y", "1")][..], true),
            (&[("x", ""), ("y", "2")], false),
            (&[("x", "")], false),
            (&[("x", ""), ("y", "1"), ("z", "")], false),
        ] {
            let owned = |&(key, value): &(&str, &str)| (key.to_owned(), value.to_owned());
            let labels = labels.iter().map(owned).collect();
            assert_eq!(filters.labels_match(&labels), expected, "{json} {labels:?}");
        }
    }
}

proptest! {
    #[test]
    fn never_panics(text in any::<String>()) {
        let _outcome = prune_filters(&text);
        let _outcome = FilterArgs::default().add_pair(&text);
    }

    #[test]
    fn decodes_what_it_encodes(pairs in prop::collection::vec("[a-z!]{0,3}=[^ ]{0,4}", 0..6)) {
        let mut args = FilterArgs::default();
        for pair in &pairs {
            args.add_pair(pair).unwrap();
        }
        prop_assert_eq!(FilterArgs::from_json(&args.to_json()), Ok(args));
    }
}
