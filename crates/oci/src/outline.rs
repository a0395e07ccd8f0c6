//! Determines the kind of a body from its bytes alone.
//!
//! Indexes, manifests and configs are objects of optional keys, so one body could be read as
//! several kinds, and a descriptor that calls a manifest a config would change the result. An
//! ambiguous body is refused, as in containerd.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::error::{ReadError, quote};
use crate::json::{Object, Refusals, Text, decode, is_key};
use crate::kind::Kind;
use crate::text::lenient_text;

/// Returns the kind of `body`, whose syntax was checked: [`Kind::Index`], [`Kind::Manifest`] or
/// [`Kind::Config`].
///
/// - `fsLayers` makes it schema 1.
/// - `manifests` makes it an index; `layers`, or a `config` that is a descriptor, a manifest;
///   `rootfs`, or a `config` with the keys of a run configuration, a config. Keys of two kinds are
///   ambiguous, and so is an index with any `config`. A key counts even if it is `null`.
/// - A `mediaType` of a known kind must be of that kind. Others are ignored, as containerd ignores
///   them.
/// - Without such keys the `mediaType` decides; without a known one, a body with a numeric
///   `schemaVersion` and no `config` is an index without entries, and everything else a config:
///   `{}` is the empty config of the OCI specification, and the configs of artifacts are objects
///   of any keys.
///
/// If Go could read labels or diff IDs from the body as a config, it is a config or refused.
///
/// Source: containerd `core/images/image.go`, `validateMediaType` (CVE-2021-41190).
pub(crate) fn kind_of(body: &[u8]) -> Result<Kind, ReadError> {
    let outline = decode(Kind::Config, body, Outline::default())?;
    if outline.has("fsLayers") {
        return Err(ReadError::Schema1);
    }
    let by_keys = outline.by_keys()?;
    let stated = outline
        .media_type
        .as_deref()
        .map(Kind::of)
        .filter(|kind| *kind != Kind::Leaf);
    if let (Some(kind), Some(stated)) = (by_keys, stated)
        && kind != stated
    {
        return Err(outline.disagrees(kind));
    }
    match by_keys.or(stated) {
        Some(Kind::Schema1) => Err(ReadError::Schema1),
        Some(Kind::Index) if outline.config.is_some() => Err(outline.disagrees(Kind::Config)),
        Some(kind) => Ok(kind),
        None if outline.has("schemaVersion") && outline.config.is_none() => Ok(Kind::Index),
        None => Ok(Kind::Config),
    }
}

#[derive(Default)]
struct Outline {
    media_type: Option<String>,
    config: Option<ConfigKeys>,
    /// The other keys. `schemaVersion` only if it is a number: configs of artifacts have texts.
    keys: BTreeSet<&'static str>,
}

/// The keys of a `config`.
#[derive(Default)]
struct ConfigKeys {
    /// A descriptor: both `mediaType` and `digest`.
    descriptor: bool,
    /// A run configuration: `Labels`, or keys and none of them a descriptor's.
    run: bool,
}

impl Outline {
    fn has(&self, key: &'static str) -> bool {
        self.keys.contains(key)
    }

    /// Returns the kind whose keys the body has; `None` without a key that only one kind has.
    fn by_keys(&self) -> Result<Option<Kind>, ReadError> {
        let config = self.config.as_ref();
        let is_descriptor = config.is_some_and(|config| config.descriptor);
        let is_run = config.is_some_and(|config| config.run);
        let is_index = self.has("manifests");
        let evidence = [
            (is_index, Kind::Index, "manifests"),
            (self.has("layers"), Kind::Manifest, "layers"),
            (is_descriptor, Kind::Manifest, "config.digest"),
            (self.has("rootfs"), Kind::Config, "rootfs"),
            (is_run, Kind::Config, "config"),
            (is_index && config.is_some(), Kind::Config, "config"),
        ];
        let mut evidence = evidence.into_iter().filter(|(is_present, ..)| *is_present);
        let Some((_, kind, first)) = evidence.next() else {
            return Ok(None);
        };
        match evidence.find(|(_, other, _)| *other != kind) {
            Some((_, _, second)) => Err(ReadError::Ambiguous { first, second }),
            None => Ok(Some(kind)),
        }
    }

    fn disagrees(&self, kind: Kind) -> ReadError {
        let got = quote(self.media_type.as_deref().unwrap_or_default());
        ReadError::WrongMediaType { kind, got }
    }
}

impl<'de> Object<'de> for Outline {
    const KEYS: &'static [&'static str] = &[
        "mediaType",
        "schemaVersion",
        "manifests",
        "layers",
        "rootfs",
        "fsLayers",
        "config",
    ];

    fn field<A: MapAccess<'de>>(
        &mut self,
        key: &'static str,
        map: &mut A,
        _: &Refusals,
    ) -> Result<(), A::Error> {
        match key {
            "mediaType" => self.media_type = lenient_text(map)?,
            "config" => {
                self.config = Some(match map.next_value_seed(Peek)? {
                    Peeked::Object(keys) => keys,
                    Peeked::Number | Peeked::Other => ConfigKeys::default(),
                });
            }
            "schemaVersion" => {
                if let Peeked::Number = map.next_value_seed(Peek)? {
                    self.keys.insert(key);
                }
            }
            _ => {
                map.next_value::<IgnoredAny>()?;
                self.keys.insert(key);
            }
        }
        Ok(())
    }
}

/// The type of a value.
enum Peeked {
    Number,
    Object(ConfigKeys),
    Other,
}

/// Skips a value and returns its type.
struct Peek;

impl<'de> DeserializeSeed<'de> for Peek {
    type Value = Peeked;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Peeked, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Peek {
    type Value = Peeked;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Peeked, E> {
        Ok(Peeked::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Peeked, E> {
        Ok(Peeked::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Peeked, E> {
        Ok(Peeked::Number)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Peeked, E> {
        Ok(Peeked::Number)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Peeked, E> {
        Ok(Peeked::Number)
    }

    fn visit_str<E>(self, _: &str) -> Result<Peeked, E> {
        Ok(Peeked::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Peeked, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Peeked::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Peeked, A::Error> {
        let (mut any, mut labels, mut media_type, mut digest) = (false, false, false, false);
        while let Some((Text(key), _)) = map.next_entry::<Text<'de>, IgnoredAny>()? {
            any = true;
            labels |= is_key(&key, "Labels");
            media_type |= is_key(&key, "mediaType");
            digest |= is_key(&key, "digest");
        }
        Ok(Peeked::Object(ConfigKeys {
            descriptor: media_type && digest,
            run: labels || (any && !media_type && !digest),
        }))
    }
}
