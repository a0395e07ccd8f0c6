//! The plugins of the server, as far as an inventory needs them.

use std::collections::BTreeSet;
use std::path::PathBuf;

use containerd_client::services::v1::introspection_client::IntrospectionClient;
use containerd_client::services::v1::{Plugin, PluginsRequest};
use reclaim_model::Snapshotter;

use crate::client::Containerd;
use crate::error::StoreError;
use crate::filesystem::{CONTENT_PLUGIN, SNAPSHOTTER};

/// The type of the CRI plugin's services; up to containerd 1.7 it was one service of gRPC.
const CRI_PLUGIN: &str = "io.containerd.cri.v1";

/// What the server has loaded.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub(super) snapshotters: BTreeSet<Snapshotter>,
    /// Snapshotters that are configured and could not be loaded.
    pub(super) failed: BTreeSet<Snapshotter>,
    /// The root of the content store, as a path on containerd's machine.
    pub(super) content_root: Option<PathBuf>,
    /// The image of pods' sandboxes, if the CRI plugin exports it.
    pub(super) sandbox_image: Option<String>,
}

impl Containerd {
    /// Reads which snapshotters the server has loaded, where its content is, and what its CRI plugin
    /// exports.
    pub(super) async fn loaded(&self) -> Result<Loaded, StoreError> {
        const OPERATION: &str = "list plugins";
        let filters = [SNAPSHOTTER, CONTENT_PLUGIN, CRI_PLUGIN].map(|kind| format!("type=={kind}"));
        let message = PluginsRequest {
            filters: filters.into(),
        };
        let request = self.request(OPERATION, None, message)?;
        let answer = IntrospectionClient::new(self.channel())
            .plugins(request)
            .await
            .map_err(|status| StoreError::new(OPERATION, status))?;
        let mut loaded = Loaded::default();
        for mut plugin in answer.into_inner().plugins {
            if plugin.r#type == CRI_PLUGIN {
                loaded.sandbox_image = loaded.sandbox_image.or(sandbox_image(plugin));
                continue;
            }
            let is_content = plugin.r#type == CONTENT_PLUGIN;
            match plugin.init_err {
                None if is_content => {
                    loaded.content_root = plugin.exports.remove("root").map(PathBuf::from);
                }
                None => drop(loaded.snapshotters.insert(plugin.id.into())),
                // A snapshotter that does not suit the host skips itself.
                Some(error) if is_content || error.message.contains("skip plugin") => {}
                Some(_) => drop(loaded.failed.insert(plugin.id.into())),
            }
        }
        Ok(loaded)
    }
}

/// Returns the image of pods' sandboxes that a service of the CRI plugin exports.
///
/// containerd's spellings of exported keys differ between plugins and versions
/// (`DiscardUnpackedLayers`, `enable_remote_snapshot_annotations`), so any spelling is accepted.
///
/// Source: containerd `plugins/cri/images/plugin.go` and the notes of 2.4.0 (PR 13940).
fn sandbox_image(plugin: Plugin) -> Option<String> {
    let is_it = |key: &str| {
        let letters = key.chars().filter(char::is_ascii_alphanumeric);
        let letters: String = letters.map(|it| it.to_ascii_lowercase()).collect();
        letters == "sandboximage"
    };
    let mut exports = plugin.exports.into_iter();
    let found = exports.find(|(key, image)| is_it(key) && !image.is_empty());
    found.map(|(_, image)| image)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_sandbox_image_by_any_spelling() {
        for (key, image, expected) in [
            ("SandboxImage", "pause:1", Some("pause:1")),
            ("sandbox_image", "pause:1", Some("pause:1")),
            ("sandboxImage", "", None),
            ("RegistryConfigPath", "pause:1", None),
        ] {
            let plugin = Plugin {
                exports: [(key.to_owned(), image.to_owned())].into(),
                ..Plugin::default()
            };
            assert_eq!(sandbox_image(plugin).as_deref(), expected, "{key}");
        }
    }
}
