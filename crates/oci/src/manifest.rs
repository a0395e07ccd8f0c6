//! Manifests (OCI image manifests and Docker schema 2 manifests, of images and artifacts) and
//! indexes (OCI image indexes and Docker manifest lists).

use serde::de::MapAccess;

use crate::descriptor::{Descriptor, DescriptorSeed};
use crate::json::{List, Object, Refusals, integer, text};

/// A manifest, as far as Reclaim reads it.
///
/// `subject` is not read: its edge has the opposite direction, and containerd does not follow it.
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
            // Decoded only to check their types, as Go does; the outline has evaluated them.
            "schemaVersion" => drop(integer(map)?),
            "mediaType" => drop(text(map)?),
            "config" => self.config = map.next_value_seed(element)?,
            _ => self.layers = map.next_value_seed(List { element })?,
        }
        Ok(())
    }
}

/// An index, as far as Reclaim reads it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Index {
    /// Manifests and further indexes in the order of the document, duplicates included. Entries
    /// that name no blob are left out, see [`Descriptor`].
    pub manifests: Vec<Descriptor>,
}

impl<'de> Object<'de> for Index {
    const KEYS: &'static [&'static str] = &["schemaVersion", "mediaType", "manifests"];

    fn field<A: MapAccess<'de>>(
        &mut self,
        key: &'static str,
        map: &mut A,
        refusals: &Refusals,
    ) -> Result<(), A::Error> {
        match key {
            // Decoded only to check their types, as Go does; the outline has evaluated them.
            "schemaVersion" => drop(integer(map)?),
            "mediaType" => drop(text(map)?),
            _ => {
                let element = DescriptorSeed { refusals };
                self.manifests = map.next_value_seed(List { element })?;
            }
        }
        Ok(())
    }
}
