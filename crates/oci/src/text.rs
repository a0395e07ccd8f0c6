//! Texts that decide nothing, such as platforms and times.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::json::Text;

/// A text that decides nothing. Other types and the empty text count as absent.
#[derive(Debug, PartialEq)]
pub(crate) struct LenientText(pub(crate) Option<String>);

impl<'de> Deserialize<'de> for LenientText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LenientVisitor).map(Self)
    }
}

/// Decodes the next value of `map` as a lenient text.
pub(crate) fn lenient_text<'de, A: MapAccess<'de>>(
    map: &mut A,
) -> Result<Option<String>, A::Error> {
    let LenientText(text) = map.next_value()?;
    Ok(text)
}

struct LenientVisitor;

impl<'de> Visitor<'de> for LenientVisitor {
    type Value = Option<String>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok((!text.is_empty()).then(|| text.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<Text<'de>, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::LenientText;

    fn decoded(json: &str) -> Option<String> {
        serde_json::from_str::<LenientText>(json).unwrap().0
    }

    #[test]
    fn takes_any_value_and_keeps_only_texts() {
        for json in [
            "null",
            "true",
            "-1",
            "1",
            "1.5",
            "[1, [2]]",
            "{\"a\": {}}",
            "\"\"",
        ] {
            assert_eq!(decoded(json), None, "{json}");
        }
        assert_eq!(decoded("\"t\"").as_deref(), Some("t"));
    }
}
