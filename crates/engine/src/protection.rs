//! Notes in an inventory which images are protected: by the configuration, and for pods.
//!
//! A daemon replaces its protection when it reloads its configuration.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

use reclaim_model::{
    Inventory, Namespace, NamespaceProtection, Plan, PodImages, Protection, RunId,
};
use tracing::warn;

use crate::controls::Caller;
use crate::engine::Engine;
use crate::kubernetes::{ContainerdConfig, KUBELET_NAMESPACE};

/// What protects images.
#[derive(Debug, Clone, Default)]
pub(crate) struct Protectors {
    pub(crate) rules: Arc<Protection>,
    pub(crate) containerd_config: ContainerdConfig,
}

/// What protects images in all runs from now on.
#[derive(Debug, Clone, Default)]
pub(crate) struct SharedProtectors(Arc<RwLock<Protectors>>);

impl SharedProtectors {
    fn get(&self) -> Protectors {
        let protectors = self.0.read().unwrap_or_else(PoisonError::into_inner);
        protectors.clone()
    }
}

impl Engine {
    /// Protects images from every request that does not lift the protection, also in runs that are
    /// under way: their second look restores what is protected now.
    pub fn protect(&self, rules: Protection, containerd_config: ContainerdConfig) {
        let shared = &self.protectors.0;
        let mut protectors = shared.write().unwrap_or_else(PoisonError::into_inner);
        *protectors = Protectors {
            rules: Arc::new(rules),
            containerd_config,
        };
    }

    /// Returns the images that [`Self::protect`] protects.
    pub fn protection(&self) -> Arc<Protection> {
        self.protectors.get().rules
    }

    /// Returns the location of containerd's configuration.
    pub(crate) fn containerd_config(&self) -> ContainerdConfig {
        self.protectors.get().containerd_config
    }

    /// Returns the keys of the image labels that protect.
    pub(crate) fn protecting_labels(&self) -> BTreeSet<String> {
        self.protection().label_keys().cloned().collect()
    }

    /// Returns what protects the images of a namespace, as of now.
    pub(crate) fn protection_of(&self, name: &Namespace, is_lifted: bool) -> NamespaceProtection {
        self.protectors.get().of_namespace(name, is_lifted)
    }

    /// Notes what protects the images of each namespace, and whether the request lifts it.
    pub(crate) async fn note_protection(&self, inventory: &mut Inventory, is_lifted: bool) {
        let protectors = self.protectors.get();
        let pod_images = protectors.containerd_config.pod_images().await;
        let is_everywhere = protectors.rules.pod_images_everywhere;
        for (name, seen) in &mut inventory.namespaces {
            seen.pod_images = PodImages {
                stay_without_cri: is_everywhere || name.as_str() == KUBELET_NAMESPACE,
                ..pod_images.clone()
            };
            seen.protection = protectors.of_namespace(name, is_lifted);
        }
    }
}

impl Protectors {
    fn of_namespace(&self, name: &Namespace, is_lifted: bool) -> NamespaceProtection {
        let is_whole = self.rules.namespaces.contains(name);
        NamespaceProtection {
            rules: Arc::clone(&self.rules),
            whole: is_whole.then(|| name.clone()),
            is_lifted,
        }
    }
}

/// Logs who removes protected images.
pub(crate) fn log_lifted(run: &RunId, caller: Option<Caller>, plan: &Plan) {
    let Caller { uid, pid } = caller.unwrap_or_else(Caller::this_process);
    for step in &plan.steps {
        if let Some(rule) = &step.lifted {
            let (image, rule) = (&step.image.name, &rule.id);
            warn!(%run, uid, pid, image, rule, "removing a protected image");
        }
    }
}
