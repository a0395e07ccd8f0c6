//! Image labels: which are kept, and how many bytes of them.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, Visitor};

use crate::json::lossy;

/// Prefix of the labels by which Compose finds the images of a project.
const COMPOSE: &str = "com.docker.compose.";

/// Keys of image labels that a request asks for; they are kept whatever the bound.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelKeys(BTreeSet<String>);

impl LabelKeys {
    /// Whether the request asks for the label `key`.
    pub fn contains(&self, key: &str) -> bool {
        self.0.contains(key)
    }
}

impl FromIterator<String> for LabelKeys {
    fn from_iter<I: IntoIterator<Item = String>>(keys: I) -> Self {
        Self(keys.into_iter().collect())
    }
}

/// Decodes `Labels` and keeps what is asked for, and of the others as much as the bound allows.
///
/// A value that is `null` is the empty text, and of a label that is there twice the last value
/// counts: keys of a map are compared exactly, and Go overwrites them.
#[derive(Debug)]
pub(crate) struct Labels<'a> {
    wanted: &'a LabelKeys,
    max_bytes: usize,
    /// Compose's labels, which have a bound of their own: an image can have any number of them.
    compose: Budget,
    others: Budget,
    kept: BTreeMap<String, String>,
    left_out: usize,
}

/// Bytes that may still be kept. It ends with the first label that is too large for it, so that
/// what is kept is the start of the document, not a selection that nobody understands.
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

    /// Whether a label of this key could be kept.
    fn is_candidate(&self, key: &[u8]) -> bool {
        key.len() <= self.max_bytes
            || str::from_utf8(key).is_ok_and(|key| self.wanted.contains(key))
    }

    fn add(&mut self, key: &str, value: &[u8]) {
        // Were the last value left out, an earlier one would be a wrong answer.
        self.kept.remove(key);
        let budget = if key.starts_with(COMPOSE) {
            &mut self.compose
        } else {
            &mut self.others
        };
        let bytes = key.len() + value.len() + 2 * size_of::<String>();
        if self.wanted.contains(key) || budget.take(bytes) {
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

/// Decodes a key; `None` for one that is neither wanted nor fits into the bound. It is not copied.
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

/// Decodes the value of a label and keeps it if there is room. What is not kept is not copied.
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
