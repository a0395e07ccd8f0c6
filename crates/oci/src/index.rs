//! Indexes: OCI image indexes and Docker manifest lists.

use serde::de::MapAccess;

use crate::descriptor::{Descriptor, DescriptorSeed};
use crate::json::{List, Object, Refusals, integer, text};

/// An index, as far as we read it.
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
            // Their types are Go's; what they say was looked at in the outline.
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
