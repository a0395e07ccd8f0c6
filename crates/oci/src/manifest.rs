//! Manifests: OCI image manifests and Docker schema 2 manifests, of images and artifacts.

use serde::de::MapAccess;

use crate::descriptor::{Descriptor, DescriptorSeed};
use crate::json::{List, Object, Refusals, integer, text};

/// A manifest, as far as we read it.
///
/// `subject` is not: the edge runs the other way, and containerd does not follow it from here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manifest {
    /// The config. Its media type is [`Kind::Config`](crate::Kind::Config)'s for images and
    /// another for artifacts. `None` if it names no blob, see [`Descriptor`].
    pub config: Option<Descriptor>,
    /// The layers, the base first, duplicates included.
    pub layers: Vec<Descriptor>,
}

impl<'de> Object<'de> for Manifest {
    const KEYS: &'static [&'static str] = &["schemaVersion", "mediaType", "config", "layers"];

    fn field<A: MapAccess<'de>>(
        &mut self,
        key: &'static str,
        map: &mut A,
        refusals: &Refusals,
    ) -> Result<(), A::Error> {
        let element = DescriptorSeed { refusals };
        match key {
            // Their types are Go's; what they say was looked at in the outline.
            "schemaVersion" => drop(integer(map)?),
            "mediaType" => drop(text(map)?),
            "config" => self.config = map.next_value_seed(element)?,
            _ => self.layers = map.next_value_seed(List { element })?,
        }
        Ok(())
    }
}
