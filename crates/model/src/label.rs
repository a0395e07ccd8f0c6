//! The filters `label` and `label!` of a prune request.
//!
//! They look at the labels of the image's *config*, which the image's author wrote; never at
//! the labels of containerd's record. The caller chooses the config, and decides what to do when
//! it cannot be read.
//!
//! Source of the rules: moby, `daemon/containerd/image_list.go`, and containerd,
//! `pkg/labels/validate.go`.

use std::collections::BTreeMap;

/// The maximum bytes of key and value together: containerd's limit for its own labels.
const MAX_LEN: usize = 4096;

/// The maximum bytes of the key that an error shows.
const SHOWN_KEY_LEN: usize = 64;

/// A condition on the labels of an image's config.
///
/// | written          | `value`   | `negated` | holds when the label is    |
/// |------------------|-----------|-----------|----------------------------|
/// | `label=key`      | none      | no        | present                    |
/// | `label=key=v`    | some `v`  | no        | present and equal          |
/// | `label!=key`     | none      | yes       | absent                     |
/// | `label!=key=v`   | some `v`  | yes       | absent or different        |
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LabelFilter {
    /// The label's key, compared exactly.
    pub key: String,
    /// The label's value, compared exactly; `None` if only the key matters.
    pub value: Option<String>,
    /// Whether the condition holds when the comparison does not.
    pub negated: bool,
}

/// Key and value of a label filter are too long together. The text is containerd's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "label key and value length ({length} bytes) greater than maximum size ({MAX_LEN} bytes), \
     key: {shown_key}: invalid argument"
)]
pub struct LabelLengthError {
    /// How many bytes key and value have together.
    pub length: usize,
    /// The beginning of the key.
    pub shown_key: String,
}

impl LabelFilter {
    /// Parses the value of the filter `label` (`positive`) or `label!`.
    ///
    /// The first `=` separates key and value; without one, only the key matters. A key that
    /// ends in `!` negates once more: `label` with `k!=v` is `label!` with `k=v`, and `label!`
    /// with `k!=v` requires the label.
    ///
    /// # Errors
    ///
    /// [`LabelLengthError`]; the `!` counts, too.
    pub fn parse(positive: bool, text: &str) -> Result<Self, LabelLengthError> {
        let (key, value) = match text.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (text, None),
        };
        let length = key.len() + value.map_or(0, str::len);
        if length > MAX_LEN {
            let shown = &key.as_bytes()[..key.len().min(SHOWN_KEY_LEN)];
            return Err(LabelLengthError {
                length,
                // The cut may go through a character.
                shown_key: String::from_utf8_lossy(shown).into_owned(),
            });
        }
        let bare_key = key.strip_suffix('!');
        Ok(Self {
            key: bare_key.unwrap_or(key).to_owned(),
            value: value.map(str::to_owned),
            negated: positive == bare_key.is_some(),
        })
    }

    /// Whether the condition holds for the labels of one config.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let label = labels.get(&self.key);
        let found = match &self.value {
            Some(value) => label == Some(value),
            None => label.is_some(),
        };
        found != self.negated
    }

    /// Whether all conditions hold for the labels of one config; true if there are none.
    ///
    /// Docker's manual says that values of the same filter are alternatives. They are not.
    pub fn all_match(filters: &[Self], labels: &BTreeMap<String, String>) -> bool {
        filters.iter().all(|filter| filter.matches(labels))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let owned = |&(key, value): &(&str, &str)| (key.to_owned(), value.to_owned());
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn parses_every_form() {
        for (positive, text, key, value, negated) in [
            (true, "k", "k", None, false),
            (true, "k=v", "k", Some("v"), false),
            (true, "k=", "k", Some(""), false),
            (true, "k=v=w", "k", Some("v=w"), false),
            (true, "k!", "k", None, true),
            (true, "k!=v", "k", Some("v"), true),
            (true, "k!!=v", "k!", Some("v"), true),
            (false, "k", "k", None, true),
            (false, "k=v", "k", Some("v"), true),
            (false, "k!", "k", None, false),
            (false, "k!=v", "k", Some("v"), false),
            (true, "", "", None, false),
            (true, "=v", "", Some("v"), false),
            (true, "k=v!", "k", Some("v!"), false),
        ] {
            let expected = LabelFilter {
                key: key.to_owned(),
                value: value.map(str::to_owned),
                negated,
            };
            assert_eq!(LabelFilter::parse(positive, text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn compares_with_one_config() {
        let absent = labels(&[("other", "v")]);
        let equal = labels(&[("k", "v")]);
        let different = labels(&[("k", "w")]);
        let empty_value = labels(&[("k", "")]);
        let upper_case = labels(&[("K", "v")]);
        // In this order, which of the five match.
        for (positive, text, expected) in [
            (true, "k", [false, true, true, true, false]),
            (true, "k=v", [false, true, false, false, false]),
            (true, "k=", [false, false, false, true, false]),
            (false, "k", [true, false, false, false, true]),
            (false, "k=v", [true, false, true, true, true]),
            (false, "k=", [true, true, true, false, true]),
            (true, "k!=v", [true, false, true, true, true]),
            (false, "k!=v", [false, true, false, false, false]),
        ] {
            let filter = LabelFilter::parse(positive, text).unwrap();
            let configs = [&absent, &equal, &different, &empty_value, &upper_case];
            let matched = configs.map(|config| filter.matches(config));
            assert_eq!(matched, expected, "{positive} {text}");
        }
    }

    #[test]
    fn asks_for_all_conditions_at_once() {
        let has_a = labels(&[("a", "1")]);
        for (texts, expected) in [
            (&[][..], true),
            (&[(true, "a")], true),
            (&[(true, "a"), (true, "b")], false),
            (&[(false, "a"), (false, "b")], false),
            (&[(true, "a"), (false, "b")], true),
            (&[(true, "a=1"), (true, "a=2")], false),
        ] {
            let parse = |&(positive, text)| LabelFilter::parse(positive, text).unwrap();
            let filters: Vec<LabelFilter> = texts.iter().map(parse).collect();
            assert_eq!(
                LabelFilter::all_match(&filters, &has_a),
                expected,
                "{texts:?}"
            );
        }
    }

    #[test]
    fn limits_key_and_value_together() {
        let key = "k".repeat(100);
        let longest = format!("{key}={}", "v".repeat(3996));
        assert!(LabelFilter::parse(true, &longest).is_ok());
        let error = LabelFilter::parse(true, &format!("{longest}v")).unwrap_err();
        let expected = format!(
            "label key and value length (4097 bytes) greater than maximum size (4096 bytes), \
             key: {}: invalid argument",
            &key[..64]
        );
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn cuts_a_long_key_within_a_character() {
        let error = LabelFilter::parse(false, &format!("k{}", "é".repeat(2048))).unwrap_err();
        let shown_key = format!("k{}\u{fffd}", "é".repeat(31));
        let length = 4097;
        assert_eq!(error, LabelLengthError { length, shown_key });
    }
}
