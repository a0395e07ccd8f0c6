//! The filters of a prune request: as they arrive, and what they mean.
//!
//! [`FilterArgs`] is the typed text: keys and sets of values, from JSON or from the command
//! line. [`PruneFilters`] is the validated meaning, which needs no further checks.
//!
//! Source of the rules: moby, `daemon/internal/filters/parse.go` and
//! `daemon/containerd/image_prune.go`; docker/cli, `opts/opts.go`.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};

use crate::conditions::ImageConditions;
use crate::image_filters::{ImageFilterError, ImageFilters};
use crate::label::{LabelFilter, LabelLengthError};
use crate::until::{TimeContext, UntilError, parse_until};

/// The keys that a prune accepts, sorted.
pub const PRUNE_FILTER_KEYS: [&str; 4] = ["dangling", "label", "label!", "until"];

/// The key that [`PruneFilters::dangling`] is read from.
const DANGLING: &str = "dangling";

/// Filters as decoded: for each key a set of values.
///
/// Each value carries a flag that clients send as true. Only `dangling` reads it: a value flagged
/// false counts as not given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct FilterArgs {
    fields: BTreeMap<String, BTreeMap<String, bool>>,
}

/// Filters of a prune request, checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PruneFilters {
    /// Whether only dangling images may go; `None` if the request does not say.
    pub dangling: Option<bool>,
    /// Only images that were created before this may go. The earliest, if several were given.
    pub until: Option<Timestamp>,
    /// Conditions on the labels of an image's config. All must hold.
    pub labels: Vec<LabelFilter>,
}

/// Why filters are refused. The texts are Docker's.
///
/// The causes are part of the texts and are therefore not sources as well.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// The JSON document is of neither form.
    #[error("invalid filter")]
    Json,
    /// A filter of the command line, which is carried here, has no `=`.
    #[error("bad format of filter (expected name=value)")]
    Pair(String),
    /// The key is none of [`PRUNE_FILTER_KEYS`].
    #[error("invalid filter{}", quoted_key(.0))]
    UnknownKey(String),
    /// The values of `dangling`, sorted, do not say either true or false.
    #[error("invalid filter 'dangling{}'", listed(.0))]
    Dangling(Vec<String>),
    /// A value of `until` is not a moment.
    #[error("invalid value for 'until' filter: {0}")]
    Until(UntilError),
    /// A value of `label` or `label!` is too long.
    #[error("{0}")]
    Label(LabelLengthError),
    /// One of the conditions that only Reclaim has.
    #[error("{0}")]
    Condition(ImageFilterError),
    /// Conditions on images that are named, or a project's.
    #[error(
        "conditions apply to prunes and slims only, not to images that are named or a project's"
    )]
    ConditionsOnNamed,
    /// A condition depends on last use, which is not known.
    #[error("filter `unused-for`: nothing here records when images were used")]
    NoLastUse,
}

impl FilterError {
    /// Returns the key that is not accepted, so that a caller can name those that are.
    pub fn unknown_key(&self) -> Option<&str> {
        match self {
            Self::UnknownKey(key) => Some(key),
            Self::Json
            | Self::Pair(_)
            | Self::Dangling(_)
            | Self::Until(_)
            | Self::Label(_)
            | Self::Condition(_)
            | Self::ConditionsOnNamed
            | Self::NoLastUse => None,
        }
    }
}

fn quoted_key(key: &str) -> String {
    if key.is_empty() {
        String::new()
    } else {
        format!(" '{key}'")
    }
}

fn listed(values: &[String]) -> String {
    if values.is_empty() {
        String::new()
    } else {
        format!("=[{}]", values.join(" "))
    }
}

/// The values of each key.
type Keys<V> = Option<BTreeMap<String, Option<V>>>;

/// The forms of filters in JSON. Go reads a null anywhere as nothing, or as false.
#[derive(Deserialize)]
#[serde(untagged)]
enum FiltersForm {
    /// `{"dangling":{"true":true}}`.
    Current(Keys<BTreeMap<String, Option<bool>>>),
    /// `{"dangling":["true"]}`, as clients wrote it before API 1.22.
    Legacy(Keys<Vec<Option<String>>>),
}

impl<'de> Deserialize<'de> for FilterArgs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = match FiltersForm::deserialize(deserializer)? {
            FiltersForm::Current(fields) => {
                collect(fields, |(value, flag)| (value, flag.unwrap_or_default()))
            }
            FiltersForm::Legacy(fields) => {
                collect(fields, |value| (value.unwrap_or_default(), true))
            }
        };
        Ok(Self { fields })
    }
}

/// Collects the values of each key.
fn collect<V: IntoIterator>(
    fields: Keys<V>,
    to_value: impl Fn(V::Item) -> (String, bool),
) -> BTreeMap<String, BTreeMap<String, bool>> {
    let fields = fields.into_iter().flatten();
    fields
        .map(|(key, values)| (key, values.into_iter().flatten().map(&to_value).collect()))
        .collect()
}

impl FilterArgs {
    /// Decodes the parameter `filters` of a request; an empty text has none.
    ///
    /// The document may be of the current or the legacy form, but not of both at once.
    ///
    /// # Errors
    ///
    /// [`FilterError::Json`]. The request is wrong and must be refused.
    pub fn from_json(text: &str) -> Result<Self, FilterError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        serde_json::from_str(text).map_err(|_| FilterError::Json)
    }

    /// Adds a filter of the command line, `key=value`; an empty text adds nothing.
    ///
    /// The first `=` separates, so that `label!=x` is the key `label!` with the value `x`. Both
    /// parts are trimmed, and the key becomes lower-case.
    ///
    /// # Errors
    ///
    /// [`FilterError::Pair`] if there is no `=`.
    pub fn add_pair(&mut self, text: &str) -> Result<(), FilterError> {
        if text.is_empty() {
            return Ok(());
        }
        let (key, value) = text
            .split_once('=')
            .ok_or_else(|| FilterError::Pair(text.to_owned()))?;
        self.add(&key.trim().to_lowercase(), value.trim());
        Ok(())
    }

    /// Divides filters of the command line, each as for [`Self::add_pair`], into Docker's and those that
    /// only Reclaim has.
    ///
    /// # Errors
    ///
    /// [`FilterError::Pair`] for the first without `=`. The values are not checked.
    pub fn divide(pairs: &[String]) -> Result<(Self, ImageConditions), FilterError> {
        let (mut args, mut conditions) = (Self::default(), ImageConditions::default());
        for pair in pairs {
            if ImageFilters::has_key_of(pair) {
                conditions.filters.push(pair.clone());
            } else {
                args.add_pair(pair)?;
            }
        }
        Ok((args, conditions))
    }

    /// Adds a value to the set of a key.
    pub fn add(&mut self, key: &str, value: &str) {
        let values = self.fields.entry(key.to_owned()).or_default();
        values.insert(value.to_owned(), true);
    }

    /// Whether the key was given, even without a value.
    pub fn contains_key(&self, key: &str) -> bool {
        self.fields.contains_key(key)
    }

    /// Whether no key was given.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Returns all keys, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.fields.keys().map(String::as_str)
    }

    /// Returns the values of a key, sorted, with any flags; empty if the key was not given.
    pub fn values(&self, key: &str) -> impl Iterator<Item = &str> {
        self.fields
            .get(key)
            .into_iter()
            .flat_map(|values| values.keys().map(String::as_str))
    }

    /// Returns these filters without all others.
    #[must_use]
    pub fn only(&self, keys: &[&str]) -> Self {
        let fields = self.fields.iter();
        let fields = fields.filter(|(key, _)| keys.contains(&key.as_str()));
        Self {
            fields: fields
                .map(|(key, values)| (key.clone(), values.clone()))
                .collect(),
        }
    }

    /// Encodes in the current form, sorted.
    ///
    /// # Panics
    ///
    /// Never: text keys and flags are JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("maps with text keys")
    }

    /// Whether one of the values was given with its flag true.
    fn has_flagged(&self, key: &str, values: [&str; 2]) -> bool {
        let flagged = |value| self.fields.get(key)?.get(value).copied();
        values.into_iter().any(|value| flagged(value) == Some(true))
    }

    /// Reads `dangling`, for which only these spellings are known.
    fn dangling(&self) -> Result<Option<bool>, FilterError> {
        if !self.contains_key(DANGLING) {
            return Ok(None);
        }
        let is_true = self.has_flagged(DANGLING, ["1", "true"]);
        let is_false = self.has_flagged(DANGLING, ["0", "false"]);
        if is_true == is_false {
            let values = self.values(DANGLING).map(str::to_owned);
            return Err(FilterError::Dangling(values.collect()));
        }
        Ok(Some(is_true))
    }
}

impl PruneFilters {
    /// Checks decoded filters: keys first, then `dangling`, `until` and the labels.
    ///
    /// Of several wrong keys or values the first in order is reported.
    ///
    /// # Errors
    ///
    /// A [`FilterError`]. The request is wrong and must be refused.
    pub fn from_args(args: &FilterArgs, context: &TimeContext) -> Result<Self, FilterError> {
        if let Some(key) = args.keys().find(|key| !PRUNE_FILTER_KEYS.contains(key)) {
            return Err(FilterError::UnknownKey(key.to_owned()));
        }
        let dangling = args.dangling()?;
        let moments: Vec<Timestamp> = args
            .values("until")
            .map(|text| parse_until(text, context))
            .collect::<Result<_, _>>()
            .map_err(FilterError::Until)?;
        let positive = args.values("label").map(|text| (true, text));
        let negative = args.values("label!").map(|text| (false, text));
        let labels = positive
            .chain(negative)
            .map(|(positive, text)| LabelFilter::parse(positive, text))
            .collect::<Result<_, _>>()
            .map_err(FilterError::Label)?;
        Ok(Self {
            dangling,
            until: moments.into_iter().min(),
            labels,
        })
    }

    /// Whether only dangling images may go, which is the default.
    pub fn dangling_only(&self) -> bool {
        self.dangling.unwrap_or(true)
    }

    /// Whether an image record created at this moment is old enough. One created exactly at `until` is not.
    pub fn is_old_enough(&self, created: Timestamp) -> bool {
        self.until.is_none_or(|until| created < until)
    }

    /// Whether the labels of one config meet all conditions.
    pub fn labels_match(&self, labels: &BTreeMap<String, String>) -> bool {
        LabelFilter::all_match(&self.labels, labels)
    }
}
