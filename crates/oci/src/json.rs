//! Decoding JSON as Go's `encoding/json` understands it, where the difference matters.
//!
//! Knows no document; the shapes are beside their types.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, IgnoredAny, IntoDeserializer, MapAccess, Visitor,
};

use crate::error::ReadError;
use crate::kind::Kind;

/// Decodes a whole body. Trailing bytes are an error, nesting is bounded by `serde_json`.
pub(crate) fn decode<'de, T: Deserialize<'de>>(
    expected: Kind,
    body: &'de [u8],
) -> Result<T, ReadError> {
    serde_json::from_slice(body).map_err(|error| ReadError::malformed(expected, &error))
}

/// A JSON object whose keys are matched without regard to case, as Go matches them.
///
/// containerd reads a manifest with `"Layers"` as one with layers. A reader that only knows
/// `"layers"` would see an image without any, and call blobs unused that are not. `T` is a
/// derived struct with its fields renamed to lower case; deriving gives the rest: `Labels`
/// beside `labels` is a duplicate and refused, other keys are skipped.
///
/// Unlike a derived struct, it does not accept a JSON array in place of the object.
pub(crate) struct Folded<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Folded<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FoldedVisitor(PhantomData))
    }
}

struct FoldedVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for FoldedVisitor<T> {
    type Value = Folded<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(FoldedKeys(map))).map(Folded)
    }
}

struct FoldedKeys<A>(A);

impl<'de, A: MapAccess<'de>> MapAccess<'de> for FoldedKeys<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        let Some(key) = self.0.next_key::<String>()? else {
            return Ok(None);
        };
        let folded: String = key.chars().map(fold).collect();
        seed.deserialize(folded.into_deserializer()).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.0.next_value_seed(seed)
    }
}

/// Folds one character as Go's `foldName` does: by Unicode's simple folding, in which two
/// characters beyond ASCII equal an ASCII letter, the Kelvin sign and the long s.
fn fold(character: char) -> char {
    match character {
        '\u{212a}' => 'k',
        '\u{17f}' => 's',
        other => other.to_ascii_lowercase(),
    }
}

/// A key that is there, whatever its value.
pub(crate) struct Present;

/// Skips a value and says that its key is there, even if it is `null`.
pub(crate) fn present<'de, D>(deserializer: D) -> Result<Option<Present>, D::Error>
where
    D: Deserializer<'de>,
{
    IgnoredAny::deserialize(deserializer).map(|_| Some(Present))
}

/// Decodes a list; `null` is the empty one, as Go writes it.
pub(crate) fn list<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Shape {
        links: Option<u8>,
    }

    fn decoded(body: &str) -> Result<Shape, ReadError> {
        decode::<Folded<Shape>>(Kind::Manifest, body.as_bytes()).map(|Folded(shape)| shape)
    }

    #[test]
    fn matches_keys_as_go_does() {
        for key in ["links", "Links", "LINKS", "lin\u{212a}s", "link\u{17f}"] {
            let shape = decoded(&format!("{{\"{key}\": 7}}")).unwrap();
            assert_eq!(shape.links, Some(7), "{key}");
        }
        assert_eq!(decoded("{\"link\": 7}").unwrap().links, None);
    }

    #[test]
    fn refuses_duplicates_in_any_case_trailing_bytes_and_arrays() {
        for body in [
            r#"{"links": 1, "links": 1}"#,
            r#"{"links": 1, "Links": 1}"#,
            r#"{"links": 1} x"#,
            r#"{"links": 1}{"links": 1}"#,
            "\u{feff}{}",
            "[7]",
            "null",
            "",
        ] {
            assert!(decoded(body).is_err(), "{body}");
        }
    }
}
