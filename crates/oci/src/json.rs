//! Decodes JSON as Go's `encoding/json` does, where the difference matters.
//!
//! This module knows no kind of document: the keys of each are with its type.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, IgnoredAny};
use serde::de::{MapAccess, SeqAccess, Unexpected, Visitor};

use crate::error::ReadError;
use crate::kind::Kind;

/// Checks that `body` is one JSON value and nothing else.
///
/// This must run first, because the decoders below skip unknown values and read texts as bytes:
/// alone they would accept control characters that Go refuses. It does not recurse.
pub(crate) fn check_syntax(body: &[u8]) -> Result<(), ReadError> {
    serde_json::from_slice::<IgnoredAny>(body)
        .map(drop)
        .map_err(|error| ReadError::not_json(&error))
}

/// Decodes `body`, whose syntax was checked, into `object`. `null` leaves it unchanged.
pub(crate) fn decode<'de, O: Object<'de>>(
    kind: Kind,
    body: &'de [u8],
    mut object: O,
) -> Result<O, ReadError> {
    let refusals = Refusals::default();
    let fill = Fill {
        object: &mut object,
        refusals: &refusals,
    };
    match fill.deserialize(&mut serde_json::Deserializer::from_slice(body)) {
        Ok(()) => Ok(object),
        Err(error) => Err(refusals
            .first
            .take()
            .unwrap_or_else(|| ReadError::undecodable(kind, &error))),
    }
}

/// Carries an error of Reclaim's own past serde, whose errors are only text.
#[derive(Default)]
pub(crate) struct Refusals {
    first: Cell<Option<ReadError>>,
}

impl Refusals {
    /// Records why the document is refused. The caller returns the error, which ends the decoding.
    pub(crate) fn refuse<E: de::Error>(&self, why: ReadError) -> E {
        let error = E::custom(&why);
        self.first.set(Some(why));
        error
    }
}

/// A type that is decoded from a JSON object, key by key.
///
/// Go matches the keys of structs without regard to case: containerd reads a manifest with
/// `"Layers"` as one with layers. A reader that only knows `"layers"` would see an image without
/// layers, and take used blobs for unused ones.
pub(crate) trait Object<'de> {
    /// The keys that are read, at most once each.
    ///
    /// For a repeated key, in the same case or in another, Go takes the last number or text, merges
    /// objects, and keeps fields of the first list's elements in those of the second. Other readers
    /// of the same bytes do otherwise, so the document is refused.
    const KEYS: &'static [&'static str];

    /// Reads the value of `key`, one of [`Self::KEYS`].
    fn field<A: MapAccess<'de>>(
        &mut self,
        key: &'static str,
        map: &mut A,
        refusals: &Refusals,
    ) -> Result<(), A::Error>;
}

/// Fills an [`Object`]. `null` leaves it unchanged, as in Go.
pub(crate) struct Fill<'a, O> {
    pub(crate) object: &'a mut O,
    pub(crate) refusals: &'a Refusals,
}

impl<'de, O: Object<'de>> DeserializeSeed<'de> for Fill<'_, O> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de, O: Object<'de>> Visitor<'de> for Fill<'_, O> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_none<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        const { assert!(O::KEYS.len() <= 8) }
        let mut seen = [false; 8];
        while let Some(Text(text)) = map.next_key()? {
            let Some(position) = O::KEYS.iter().position(|key| is_key(&text, key)) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let key = O::KEYS[position];
            if std::mem::replace(&mut seen[position], true) {
                return Err(self.refusals.refuse(ReadError::DuplicateKey(key)));
            }
            self.object.field(key, &mut map, self.refusals)?;
        }
        Ok(())
    }
}

/// Whether Go matches `text` with the key of a struct.
pub(crate) fn is_key(text: &str, key: &str) -> bool {
    text.chars().map(fold).eq(key.chars().map(fold))
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

/// A text, with replacement characters for bytes that are not UTF-8, as in Go.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Text<'de>(pub(crate) Cow<'de, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // serde_json refuses texts that are not UTF-8, unless bytes are requested.
        deserializer.deserialize_bytes(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a string")
    }

    fn visit_borrowed_bytes<E>(self, bytes: &'de [u8]) -> Result<Self::Value, E> {
        Ok(Text(lossy(bytes)))
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Self::Value, E> {
        Ok(Text(Cow::Owned(lossy(bytes).into_owned())))
    }
}

/// Decodes UTF-8. Each broken byte becomes a replacement character, as in Go.
pub(crate) fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = str::from_utf8(bytes) {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    Cow::Owned(text)
}

/// Decodes the next value of `map` as a text; `null` is the empty one, as in Go.
pub(crate) fn text<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Cow<'de, str>, A::Error> {
    let Text(text) = map.next_value::<Option<Text<'de>>>()?.unwrap_or_default();
    Ok(text)
}

/// Decodes the next value of `map` as an integer of 64 bits, like Go's `int` and `int64`; `null`
/// is 0.
pub(crate) fn integer<'de, A: MapAccess<'de>>(map: &mut A) -> Result<i64, A::Error> {
    let integer: Option<Integer> = map.next_value()?;
    Ok(integer.map_or(0, |Integer(integer)| integer))
}

struct Integer(i64);

impl<'de> Deserialize<'de> for Integer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_i64(IntegerVisitor).map(Self)
    }
}

struct IntegerVisitor;

impl Visitor<'_> for IntegerVisitor {
    type Value = i64;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an integer of 64 bits")
    }

    fn visit_i64<E>(self, integer: i64) -> Result<i64, E> {
        Ok(integer)
    }

    fn visit_u64<E: de::Error>(self, integer: u64) -> Result<i64, E> {
        i64::try_from(integer).map_err(|_| E::invalid_value(Unexpected::Unsigned(integer), &self))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<i64, E> {
        // serde_json decodes `-0` as a float; for Go it is an integer.
        if number.to_bits() == (-0.0_f64).to_bits() {
            return Ok(0);
        }
        Err(E::invalid_type(Unexpected::Float(number), &self))
    }
}

/// Decodes a list with the seed `element`, without the elements that are `None`. `null` is the
/// empty list, as Go writes it.
pub(crate) struct List<S> {
    pub(crate) element: S,
}

impl<'de, S, T> DeserializeSeed<'de> for List<S>
where
    S: DeserializeSeed<'de, Value = Option<T>> + Copy,
{
    type Value = Vec<T>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<T>, D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de, S, T> Visitor<'de> for List<S>
where
    S: DeserializeSeed<'de, Value = Option<T>> + Copy,
{
    type Value = Vec<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list")
    }

    fn visit_none<E>(self) -> Result<Vec<T>, E> {
        Ok(Vec::new())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<T>, D::Error> {
        deserializer.deserialize_seq(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = seq.next_element_seed(self.element)? {
            list.extend(element);
        }
        Ok(list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, PartialEq)]
    struct Shape {
        links: i64,
        name: String,
    }

    impl<'de> Object<'de> for Shape {
        const KEYS: &'static [&'static str] = &["Links", "name"];

        fn field<A: MapAccess<'de>>(
            &mut self,
            key: &'static str,
            map: &mut A,
            _: &Refusals,
        ) -> Result<(), A::Error> {
            match key {
                "Links" => self.links = integer(map)?,
                _ => self.name = text(map)?.into_owned(),
            }
            Ok(())
        }
    }

    fn decoded(body: &[u8]) -> Result<Shape, ReadError> {
        check_syntax(body)?;
        decode(Kind::Manifest, body, Shape::default())
    }

    #[test]
    fn matches_keys_as_go_does() {
        for key in ["links", "Links", "LINKS", "lin\u{212a}s", "link\u{17f}"] {
            let shape = decoded(format!("{{\"{key}\": 7}}").as_bytes()).unwrap();
            assert_eq!(shape.links, 7, "{key}");
        }
        assert_eq!(decoded(br#"{"link": 7}"#).unwrap().links, 0);
    }

    #[test]
    fn refuses_a_duplicate_key_in_any_case() {
        for body in [
            r#"{"links": 1, "links": 1}"#,
            r#"{"links": 1, "Links": null}"#,
        ] {
            let error = decoded(body.as_bytes()).unwrap_err();
            assert_eq!(error, ReadError::DuplicateKey("Links"), "{body}");
        }
        assert_eq!(
            decoded(br#"{"x": 1, "x": 2, "": 3}"#),
            Ok(Shape::default()),
            "a key that is not read"
        );
    }

    #[test]
    fn refuses_what_is_not_json() {
        for body in [
            &br#"{"links": 1} x"#[..],
            br#"{"links": 1}{"links": 1}"#,
            b"\xef\xbb\xbf{}",
            b"{\"li\x01nks\": 1}",
            b"{\"name\": \"\x01\"}",
            br#"{"name": "\x"}"#,
            b"{\xff}",
            b"",
        ] {
            let error = decoded(body).unwrap_err();
            assert!(matches!(error, ReadError::NotJson { .. }), "{error}");
        }
    }

    #[test]
    fn refuses_types_that_go_refuses() {
        for body in [
            "[7]",
            "7",
            r#"{"links": "1"}"#,
            r#"{"links": 1.0}"#,
            r#"{"links": 1e2}"#,
            r#"{"links": 9223372036854775808}"#,
            r#"{"links": true}"#,
            r#"{"name": 1}"#,
            r#"{"name": ["a"]}"#,
        ] {
            let error = decoded(body.as_bytes()).unwrap_err();
            assert!(matches!(error, ReadError::Malformed { .. }), "{error}");
        }
    }

    #[test]
    fn an_error_says_which_values_it_reads() {
        for (body, expected) in [
            (
                r#"{"links": 9223372036854775808}"#,
                "expected an integer of 64 bits",
            ),
            (r#"{"name": 1}"#, "expected a string"),
        ] {
            let text = decoded(body.as_bytes()).unwrap_err().to_string();
            assert!(text.contains(expected), "{text}");
        }
    }

    #[test]
    fn reads_negative_integers() {
        assert_eq!(decoded(br#"{"links": -5}"#).unwrap().links, -5);
    }

    #[test]
    fn null_changes_nothing() {
        assert_eq!(decoded(b"null"), Ok(Shape::default()));
        assert_eq!(
            decoded(br#"{"links": null, "name": null}"#),
            Ok(Shape::default())
        );
    }

    #[test]
    fn reads_broken_texts_with_replacement_characters() {
        for (body, name) in [
            (&b"{\"name\": \"a\xe2\x82z\"}"[..], "a\u{fffd}\u{fffd}z"),
            (b"{\"name\": \"\\n\xff\"}", "\n\u{fffd}"),
            (br#"{"name": "\u00e9"}"#, "é"),
        ] {
            assert_eq!(decoded(body).unwrap().name, name);
        }
        assert!(decoded(br#"{"name": "\ud800"}"#).is_ok());
    }
}
