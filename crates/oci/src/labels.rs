//! Image labels: which are kept, and how many bytes of them.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, Visitor};

use reclaim_model::{PROJECT_LABEL, SERVICE_LABEL};

use crate::json::lossy;

/// Prefix of the labels that Compose writes.
const COMPOSE: &str = "com.docker.compose.";

/// Labels that Reclaim itself needs, whatever the request.
const ALWAYS: [&str; 2] = [PROJECT_LABEL, SERVICE_LABEL];

/// Keys of the image labels that a request needs. These labels are always kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelKeys(BTreeSet<String>);

impl LabelKeys {
    /// Whether the request needs the label `key`.
    pub fn contains(&self, key: &str) -> bool {
        self.0.contains(key)
    }
}

impl FromIterator<String> for LabelKeys {
    fn from_iter<I: IntoIterator<Item = String>>(keys: I) -> Self {
        Self(keys.into_iter().collect())
    }
}

/// Decodes `Labels`, and keeps those that are wanted and as many of the others as the bound allows.
///
/// As in Go, a `null` value is the empty text, keys are compared exactly, and the last value of a
/// repeated key counts.
#[derive(Debug)]
pub(crate) struct Labels<'a> {
    wanted: &'a LabelKeys,
    max_bytes: usize,
    /// Compose's labels have a budget of their own, so that other labels cannot displace them. It
    /// is bounded, because an image can have any number of them.
    compose: Budget,
    others: Budget,
    kept: BTreeMap<String, String>,
    left_out: usize,
}

/// The bytes that may still be kept. The first label that does not fit exhausts it, so that the
/// first labels are kept, not a selection by size.
#[derive(Debug)]
struct Budget(usize);

impl Budget {
    fn take(&mut self, bytes: usize) -> bool {
        let left = self.0.checked_sub(bytes);
        self.0 = left.unwrap_or(0);
        left.is_some()
    }
}

impl<'a> Labels<'a> {
    pub(crate) fn new(wanted: &'a LabelKeys, max_bytes: usize) -> Self {
        Self {
            wanted,
            max_bytes,
            compose: Budget(max_bytes),
            others: Budget(max_bytes),
            kept: BTreeMap::new(),
            left_out: 0,
        }
    }

    /// Returns the labels that are kept, and how many are not.
    pub(crate) fn finish(self) -> (BTreeMap<String, String>, usize) {
        (self.kept, self.left_out)
    }

    fn is_wanted(&self, key: &str) -> bool {
        ALWAYS.contains(&key) || self.wanted.contains(key)
    }

    /// Whether a label with this key could be kept.
    fn is_candidate(&self, key: &[u8]) -> bool {
        key.len() <= self.max_bytes || str::from_utf8(key).is_ok_and(|key| self.is_wanted(key))
    }

    fn add(&mut self, key: &str, value: &[u8]) {
        // If the last value is left out, an earlier one would be a wrong answer.
        self.kept.remove(key);
        let is_wanted = self.is_wanted(key);
        let budget = if key.starts_with(COMPOSE) {
            &mut self.compose
        } else {
            &mut self.others
        };
        let bytes = key.len() + value.len() + 2 * size_of::<String>();
        if is_wanted || budget.take(bytes) {
            self.kept.insert(key.to_owned(), lossy(value).into_owned());
        } else {
            self.left_out += 1;
        }
    }
}

impl<'de> DeserializeSeed<'de> for &mut Labels<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for &mut Labels<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object of labels")
    }

    fn visit_none<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key_seed(Key { labels: self })? {
            map.next_value_seed(Value {
                labels: self,
                key: key.as_deref(),
            })?;
        }
        Ok(())
    }
}

/// Decodes a key, or skips one that is neither wanted nor fits into the bound, without a copy.
struct Key<'a, 'b> {
    labels: &'a Labels<'b>,
}

impl<'de> DeserializeSeed<'de> for Key<'_, '_> {
    type Value = Option<Cow<'de, str>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_bytes(self)
    }
}

impl<'de> Visitor<'de> for Key<'_, '_> {
    type Value = Option<Cow<'de, str>>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the key of a label")
    }

    fn visit_borrowed_bytes<E>(self, bytes: &'de [u8]) -> Result<Self::Value, E> {
        Ok(self.labels.is_candidate(bytes).then(|| lossy(bytes)))
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Self::Value, E> {
        let is_candidate = self.labels.is_candidate(bytes);
        Ok(is_candidate.then(|| Cow::Owned(lossy(bytes).into_owned())))
    }
}

/// Decodes the value of a label, and copies it only if it is kept.
struct Value<'a, 'b> {
    labels: &'a mut Labels<'b>,
    key: Option<&'a str>,
}

impl<'de> DeserializeSeed<'de> for Value<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for Value<'_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a string")
    }

    fn visit_none<E: de::Error>(self) -> Result<(), E> {
        self.visit_bytes(&[])
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_bytes(self)
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<(), E> {
        match self.key {
            Some(key) => self.labels.add(key, bytes),
            None => self.labels.left_out += 1,
        }
        Ok(())
    }
}
