//! The filters of `GET /images/json`.
//!
//! Source: moby, `setupFilters` in `daemon/containerd/image_list.go`.

use glob::Pattern;
use jiff::Timestamp;
use reclaim_engine::{DetailedImages, ImageDetails};
use reclaim_model::{
    FilterArgs, FilterError, ImageRecord, NotRemoved, PruneFilters, Reference, TimeContext,
};

use super::error::ApiError;
use super::platform::{created, platforms};

const KEYS: [&str; 7] = [
    "before",
    "dangling",
    "label",
    "label!",
    "reference",
    "since",
    "until",
];

/// The filters of a request, checked as far as that needs no image.
#[derive(Debug)]
pub(super) struct ListFilters {
    /// The filters that a prune has too.
    common: PruneFilters,
    before: Vec<String>,
    since: Vec<String>,
    references: Option<Vec<String>>,
}

/// The filters, with the creation times of the images that they name.
#[derive(Debug)]
pub(super) struct Resolved {
    common: PruneFilters,
    before: Vec<Timestamp>,
    since: Vec<Timestamp>,
    references: Option<Vec<Pattern>>,
}

impl ListFilters {
    /// Checks the filters: keys first, then values, in the order of a prune.
    pub(super) fn from_args(args: &FilterArgs, context: &TimeContext) -> Result<Self, ApiError> {
        if let Some(key) = args.keys().find(|key| !KEYS.contains(key)) {
            return Err(FilterError::UnknownKey(key.to_owned()).into());
        }
        let common = args.only(&reclaim_model::PRUNE_FILTER_KEYS);
        let owned = |key| args.values(key).map(str::to_owned).collect();
        Ok(Self {
            common: PruneFilters::from_args(&common, context)?,
            before: owned("before"),
            since: owned("since"),
            references: args.contains_key("reference").then(|| owned("reference")),
        })
    }

    /// Looks up the images that `before` and `since` name.
    pub(super) fn resolve(self, details: &DetailedImages) -> Result<Resolved, NotRemoved> {
        let moments = |names: &[String]| -> Result<Vec<Timestamp>, NotRemoved> {
            names
                .iter()
                .map(|name| details.find(name).map(created))
                .collect()
        };
        // An invalid pattern matches nothing.
        let pattern = |text: &String| Pattern::new(&as_glob(text)).ok();
        Ok(Resolved {
            before: moments(&self.before)?,
            since: moments(&self.since)?,
            references: self
                .references
                .map(|patterns| patterns.iter().filter_map(pattern).collect()),
            common: self.common,
        })
    }
}

impl Resolved {
    /// Returns the records of an image that match the filters.
    pub(super) fn records_of<'a>(
        &'a self,
        image: &'a ImageDetails,
    ) -> impl Iterator<Item = &'a ImageRecord> {
        let matches_image = self.is_in_time(image) && self.has_labels(image);
        let records = image.records.iter();
        records.filter(move |record| matches_image && self.matches_record(image, record))
    }

    fn is_in_time(&self, image: &ImageDetails) -> bool {
        let created = created(image);
        self.before.iter().all(|before| created < *before)
            && self.since.iter().all(|since| created > *since)
    }

    /// Whether all label conditions match on one platform whose content is there.
    fn has_labels(&self, image: &ImageDetails) -> bool {
        self.common.labels.is_empty()
            || platforms(image)
                .filter_map(|manifest| manifest.config.as_ref())
                .any(|config| self.common.labels_match(&config.config.labels))
    }

    fn matches_record(&self, image: &ImageDetails, record: &ImageRecord) -> bool {
        let dangling = self.common.dangling;
        let is_of_kind = dangling.is_none_or(|wanted| wanted == image.is_dangling_record(record));
        let is_old = record
            .created_at
            .map_or(self.common.until.is_none(), |created| {
                self.common.is_old_enough(created)
            });
        is_of_kind && is_old && self.is_named(record)
    }

    fn is_named(&self, record: &ImageRecord) -> bool {
        let Some(patterns) = &self.references else {
            return true;
        };
        let Ok(reference) = Reference::parse_normalized(&record.name) else {
            return false;
        };
        let full = reference.clone().with_default_tag();
        let names = [
            full.familiar(),
            reference.familiar_repository(),
            full.to_string(),
            reference.repository(),
        ];
        let options = glob::MatchOptions {
            require_literal_separator: true,
            ..glob::MatchOptions::default()
        };
        let matches =
            |pattern: &Pattern| names.iter().any(|name| pattern.matches_with(name, options));
        patterns.iter().any(matches)
    }
}

/// Converts a pattern of Go's `path.Match` to one of the crate `glob`: in Go two asterisks mean the
/// same as one, `^` negates a class, and a backslash escapes the next character.
fn as_glob(pattern: &str) -> String {
    let mut glob = String::new();
    let mut characters = pattern.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '*' if characters.peek() == Some(&'*') => {}
            '[' if characters.peek() == Some(&'^') => {
                characters.next();
                glob.push_str("[!");
            }
            '\\' => {
                if let Some(next) = characters.next() {
                    glob.push_str(&Pattern::escape(&next.to_string()));
                }
            }
            other => glob.push(other),
        }
    }
    glob
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_patterns_as_go_does() {
        let matches =
            |pattern: &str, name: &str| Pattern::new(&as_glob(pattern)).unwrap().matches(name);
        assert!(matches("app**", "app:1"));
        assert!(matches("[^b]pp", "app"));
        assert!(!matches("[^a]pp", "app"));
        assert!(matches(r"a\*p", "a*p"));
        assert!(!matches(r"a\*p", "abp"));
        assert!(matches("?pp:[0-9]", "app:7"));
    }
}
