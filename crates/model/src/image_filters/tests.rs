use super::*;
use crate::{ImageSize, RemoveReason};

fn parse(pairs: &[&str]) -> Result<ImageFilters, ImageFilterError> {
    let pairs: Vec<String> = pairs.iter().map(|pair| (*pair).to_owned()).collect();
    ImageFilters::parse(&pairs)
}

#[test]
fn selects_by_name_digest_and_size() {
    let image = ListedImage {
        name: "docker.io/library/app:1".to_owned(),
        target: format!("sha256:{}", "ab".repeat(32)).parse().unwrap(),
        size: ImageSize {
            content_bytes: 1000,
            ..ImageSize::default()
        },
        layers: Vec::new(),
        created: None,
        last_used: None,
        pinned: None,
        verdict: Ok(RemoveReason::Unused),
    };
    for (pairs, expected) in [
        (&[][..], true),
        (&["reference=app:*"], true),
        (&["reference=~library/app"], true),
        (&["reference=web:*"], false),
        (&["reference=web:*", "reference=app:*"], true),
        (&["digest=abab"], true),
        (&["digest=sha256:abab"], true),
        (&["digest=ba"], false),
        (&["digest=ba", "digest=ab"], true),
        (&["larger-than=1kB"], true),
        (&["larger-than=1001B"], false),
        (&["larger-than=1B", "larger-than=2kB"], false),
        (&["reference=app:*", "digest=ba"], false),
        (&["reference=web:*", "larger-than=1B"], false),
    ] {
        assert_eq!(
            parse(pairs).unwrap().selects(&image, Timestamp::UNIX_EPOCH),
            expected,
            "{pairs:?}"
        );
    }
}

#[test]
fn selects_by_last_use_where_it_is_known() {
    let now = Timestamp::from_second(7200).unwrap();
    let image = |last_used: Option<i64>| ListedImage {
        name: "app:1".to_owned(),
        target: Digest::Sha256([1; 32]),
        size: ImageSize::default(),
        layers: Vec::new(),
        created: None,
        last_used: last_used.map(|second| Timestamp::from_second(second).unwrap()),
        pinned: None,
        verdict: Ok(RemoveReason::Unused),
    };
    let idle = parse(&["unused-for=1h"]).unwrap();
    assert!(idle.need_last_use());
    for (last_used, expected) in [
        (None, false),
        (Some(0), true),
        (Some(3600), true),
        (Some(3601), false),
        // A clock that was set back.
        (Some(9000), false),
    ] {
        assert_eq!(
            idle.selects(&image(last_used), now),
            expected,
            "{last_used:?}"
        );
    }
    let any = parse(&["unused-for=0"]).unwrap();
    assert!(!any.need_last_use() && any.selects(&image(None), now));
}

#[test]
fn whole_digests_match_of_any_algorithm() {
    for text in [
        format!("sha256:{}", "ab".repeat(32)),
        format!("sha512:{}", "ab".repeat(64)),
    ] {
        let digest: Digest = text.parse().unwrap();
        let filters = parse(&[&format!("digest={text}")]).unwrap();
        assert!(filters.selects_target(&digest));
        assert!(!filters.selects_target(&Digest::Sha256([1; 32])));
        assert_eq!(filters.pairs(), [format!("digest={text}")]);
    }
}

#[test]
fn says_what_is_wrong_with_a_filter() {
    assert!(IMAGE_FILTER_KEYS.is_sorted());
    for (pair, expected) in [
        (
            "",
            "filter `` has no value; accepted are digest, larger-than, reference, unused-for",
        ),
        ("reference", "filter `reference` has no value; accepted are"),
        ("=app", "filter `` is unknown; accepted are"),
        ("colour=red", "filter `colour` is unknown; accepted are"),
        ("until=24h", "filter `until` is unknown; accepted are"),
        ("reference=", "filter `reference`: pattern is empty"),
        (
            "reference=~(",
            "filter `reference`: pattern is not a regular expression",
        ),
        (
            "digest=",
            "filter `digest`: `` is not the beginning of a digest",
        ),
        ("digest=app", "filter `digest`: `app` is not the beginning"),
        ("larger-than=", "filter `larger-than`: "),
        ("larger-than=much", "filter `larger-than`: "),
        ("unused-for=", "filter `unused-for`: "),
        ("unused-for=soon", "filter `unused-for`: "),
        ("unused-for=-1h", "filter `unused-for` is negative: `-1h`"),
    ] {
        let error = parse(&[pair]).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{pair}: {error}");
    }
}
