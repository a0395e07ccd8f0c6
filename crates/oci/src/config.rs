//! Image configs: the labels for filters, and the diff IDs that determine snapshots.

use std::collections::BTreeMap;

use reclaim_model::Digest;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, MapAccess};

use crate::descriptor::parse_digest;
use crate::json::{Fill, List, Object, Refusals, Text};
use crate::labels::{LabelKeys, Labels};
use crate::limits::Limits;
use crate::platform::Platform;
use crate::text::lenient_text;

/// An image config, as far as Reclaim reads it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageConfig {
    /// The labels of the image (`config.Labels`), not those of its record. A repeated label has its
    /// last value, as in Go. Labels may be missing: see `labels_left_out`.
    pub labels: BTreeMap<String, String>,
    /// How many labels of the document are not in `labels`, because they exceed
    /// [`Limits::max_label_bytes`]. If it is not 0, a label that is neither in `labels` nor in the
    /// requested [`LabelKeys`] is unknown. A repeated label counts each time.
    pub labels_left_out: usize,
    /// The digests of the unpacked layers, the base first. See [`chain_ids`](crate::chain_ids).
    pub diff_ids: Vec<Digest>,
    /// The platform, if any of it is stated.
    pub platform: Option<Platform>,
    /// When the image was built, as the builder wrote it: it should be RFC 3339, and is not checked.
    /// Reproducible builds write a constant, so it does not prove an age.
    pub created: Option<String>,
}

/// Reads a config. If it overlooked a label or diff ID that Go reads, Reclaim could remove a
/// protected image.
#[derive(Debug)]
pub(crate) struct ConfigReader<'a> {
    labels: Labels<'a>,
    diff_ids: Vec<Digest>,
    platform: Platform,
    created: Option<String>,
}

impl<'a> ConfigReader<'a> {
    pub(crate) fn new(wanted: &'a LabelKeys, limits: &Limits) -> Self {
        Self {
            labels: Labels::new(wanted, limits.max_label_bytes),
            diff_ids: Vec::new(),
            platform: Platform::default(),
            created: None,
        }
    }

    pub(crate) fn finish(self) -> ImageConfig {
        let (labels, labels_left_out) = self.labels.finish();
        ImageConfig {
            labels,
            labels_left_out,
            diff_ids: self.diff_ids,
            platform: self.platform.stated(),
            created: self.created,
        }
    }
}

impl<'de> Object<'de> for ConfigReader<'_> {
    const KEYS: &'static [&'static str] = &[
        "config",
        "rootfs",
        "created",
        "os",
        "architecture",
        "variant",
    ];

    fn field<A: MapAccess<'de>>(
        &mut self,
        key: &'static str,
        map: &mut A,
        refusals: &Refusals,
    ) -> Result<(), A::Error> {
        match key {
            "config" => map.next_value_seed(Fill {
                object: &mut RunConfig(&mut self.labels),
                refusals,
            }),
            "rootfs" => map.next_value_seed(Fill {
                object: &mut Rootfs(&mut self.diff_ids),
                refusals,
            }),
            "created" => {
                self.created = lenient_text(map)?;
                Ok(())
            }
            _ => self.platform.set(key, map),
        }
    }
}

struct RunConfig<'a, 'b>(&'a mut Labels<'b>);

impl<'de> Object<'de> for RunConfig<'_, '_> {
    const KEYS: &'static [&'static str] = &["Labels"];

    fn field<A: MapAccess<'de>>(
        &mut self,
        _: &'static str,
        map: &mut A,
        _: &Refusals,
    ) -> Result<(), A::Error> {
        map.next_value_seed(&mut *self.0)
    }
}

struct Rootfs<'a>(&'a mut Vec<Digest>);

impl<'de> Object<'de> for Rootfs<'_> {
    const KEYS: &'static [&'static str] = &["diff_ids"];

    fn field<A: MapAccess<'de>>(
        &mut self,
        _: &'static str,
        map: &mut A,
        refusals: &Refusals,
    ) -> Result<(), A::Error> {
        let element = DiffId { refusals };
        *self.0 = map.next_value_seed(List { element })?;
        Ok(())
    }
}

/// Decodes a diff ID. Go accepts any text, and reads `null` as the empty one. Here each must be a
/// digest: otherwise the snapshots of the image, and so its containers, would be unknown.
#[derive(Clone, Copy)]
struct DiffId<'a> {
    refusals: &'a Refusals,
}

impl<'de> DeserializeSeed<'de> for DiffId<'_> {
    type Value = Option<Digest>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        let Text(text) = Option::deserialize(deserializer)?.unwrap_or_default();
        parse_digest(&text, self.refusals).map(Some)
    }
}
