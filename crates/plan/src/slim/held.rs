//! Images without a record that something holds.

use std::collections::{BTreeMap, BTreeSet};

use reclaim_model::{Digest, Inventory};

use super::Planner;
use super::manifests::Manifest;
use crate::cuts::marked;
use crate::mark::Going;

impl<'a> Planner<'_, 'a> {
    /// Returns the manifests of images by their configuration.
    pub(super) fn by_config(&self) -> BTreeMap<&'a Digest, Vec<Manifest<'a>>> {
        let mut by_config: BTreeMap<_, Vec<Manifest<'a>>> = BTreeMap::new();
        for manifest in self.manifests.iter().filter(|it| it.is_image()) {
            let of_config = by_config.entry(manifest.config_digest).or_default();
            of_config.push(*manifest);
        }
        by_config
    }

    /// Returns the configurations to which a held blob of no image refers: a manifest of an image that
    /// was removed and can be restored, or that is being pulled. What was unpacked may be its only copy.
    pub(super) fn held_without_image(
        &self,
        inventory: &Inventory,
        by_config: &BTreeMap<&'a Digest, Vec<Manifest<'a>>>,
    ) -> BTreeSet<&'a Digest> {
        let graph = &self.facts.graph;
        let mut of_node = vec![None; graph.len()];
        for config in by_config.keys() {
            if let Some(id) = graph.find_blob(config) {
                of_node[id as usize] = Some(*config);
            }
        }
        let marker = marked(graph, inventory, &Going::default());
        let mut held = BTreeSet::new();
        for (id, blob) in (0..).zip(&graph.namespace.blobs) {
            let configs = graph.kept_by(id).iter();
            let mut configs = configs
                .filter_map(|kept| of_node[*kept as usize])
                .peekable();
            if configs.peek().is_some()
                && marker.is_reached(id)
                && self.images_with(&blob.digest).is_empty()
            {
                held.extend(configs);
            }
        }
        held
    }
}
