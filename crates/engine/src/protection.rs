//! Notes in an inventory which images are protected: by the configuration, and for pods.
//!
//! A daemon replaces its protection when it reloads its configuration.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

use reclaim_model::{
    Caller, Inventory, Namespace, NamespaceProtection, Part, Plan, PodImages, Protection,
    Reference, ResolvedRequest, RunId, Selection,
};
use tracing::warn;

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
        let exported = inventory.sandbox_image.as_deref();
        let pod_images = protectors.containerd_config.pod_images(exported).await;
        let is_everywhere = protectors.rules.pod_images_everywhere;
        for (name, seen) in &mut inventory.namespaces {
            seen.pod_images = PodImages {
                stay_without_cri: is_everywhere || name.as_str() == KUBELET_NAMESPACE,
                ..pod_images.clone()
            };
            seen.protection = protectors.of_namespace(name, is_lifted);
        }
    }

    /// Adds which registries have mirrors on this machine, if the request frees layers: only that
    /// depends on it.
    pub(crate) async fn note_mirrors(&self, request: &ResolvedRequest, inventory: &mut Inventory) {
        let frees_layers = match &request.selection {
            Selection::Parts(parts) => parts.parts.contains(&Part::Layers),
            Selection::Filters(_)
            | Selection::Named(_)
            | Selection::Project(_)
            | Selection::Rule(_) => false,
        };
        let Some(source) = self.layer_source.as_ref().filter(|_| frees_layers) else {
            return;
        };
        let Some(seen) = inventory.namespaces.get_mut(&request.namespace) else {
            return;
        };
        let names = seen.images.iter();
        let names = names.filter_map(|image| Reference::parse_normalized(&image.name).ok());
        let registries = names.map(|name| name.domain().to_owned()).collect();
        seen.mirrors = Arc::new(source.local_mirrors(registries).await);
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

/// Logs who removes protected images, or parts of them.
pub(crate) fn log_lifted(run: &RunId, caller: &Caller, plan: &Plan) {
    let process = caller.peer.process.as_ref();
    let uid = process.map(|process| process.uid);
    let pid = process.and_then(|process| process.pid);
    for step in &plan.steps {
        if let Some(rule) = &step.lifted {
            let (image, rule) = (&step.image.name, &rule.id);
            warn!(%run, uid, pid, image, rule, "removing a protected image");
        }
    }
    for slimmed in &plan.slimmed {
        if let Some(rule) = &slimmed.lifted {
            let (image, rule) = (&slimmed.name, &rule.id);
            warn!(%run, uid, pid, image, rule, "freeing parts of a protected image");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use reclaim_fake::{Fake, Image, Labels, Layer};
    use reclaim_model::{KeepReason, PruneRequest};
    use reclaim_store::Containerd;

    use super::*;
    use crate::controls::no_progress;

    const NAMES: [&str; 3] = [
        "docker.io/library/app:1",
        "r.example/my-pause:1",
        "r.example/pod-base:1",
    ];

    /// Returns the images that a prune of namespace `default` keeps as protected.
    async fn protected(config: ContainerdConfig, pod_images_everywhere: bool) -> Vec<String> {
        protected_by(config, pod_images_everywhere, None).await
    }

    /// The same, with the sandbox image that containerd exports.
    async fn protected_by(
        config: ContainerdConfig,
        pod_images_everywhere: bool,
        exported: Option<&str>,
    ) -> Vec<String> {
        let fake = Fake::new("2.1.9");
        let now = fake.now();
        fake.change(|state| {
            state.sandbox_image = exported.map(str::to_owned);
            for name in NAMES {
                let image = Image::new(vec![Layer::of(name)], &Labels::new());
                image.store(state, "default", "overlayfs", None);
                state.put_image("default", image.record(name), now);
            }
        });
        let engine = Engine::new(Containerd::from_channel(fake.channel()));
        let rules = Protection {
            pod_images_everywhere,
            ..Protection::default()
        };
        engine.protect(rules, config);
        let request = PruneRequest::unused("default".parse().unwrap());
        let preview = engine.preview(&request, &no_progress).await.unwrap();
        let kept = preview.plan.kept.into_iter();
        let kept = kept.filter(|kept| kept.reason == KeepReason::Protected);
        kept.map(|kept| kept.name).collect()
    }

    #[tokio::test]
    async fn protects_the_sandbox_image_or_every_possible_one_if_it_is_unknown() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("containerd.toml");
        let at = |path: &Path| ContainerdConfig::At(path.to_owned());
        let named = "[plugins.cri]\nsandbox_image = 'r.example/pod-base:1'";
        fs::write(&file, named).unwrap();
        assert_eq!(protected(at(&file), true).await, [NAMES[2]]);
        // No pod runs in this namespace.
        assert_eq!(protected(at(&file), false).await, [""; 0]);
        fs::write(&file, "[plugins").unwrap();
        assert_eq!(protected(at(&file), true).await, [NAMES[1]]);
        let ignored = ContainerdConfig::Ignored;
        assert_eq!(protected(ignored, true).await, [""; 0]);
    }

    #[tokio::test]
    async fn protects_the_sandbox_image_that_containerd_exports() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("containerd.toml");
        let at = || ContainerdConfig::At(file.clone());
        let exported = Some("r.example/pod-base:1");
        for config in [ContainerdConfig::Unseen, at()] {
            assert_eq!(protected_by(config, true, exported).await, [NAMES[2]]);
        }
        // The file may have changed since containerd was started.
        let named = "[plugins.cri]\nsandbox_image = 'r.example/my-pause:1'";
        fs::write(&file, named).unwrap();
        assert_eq!(protected_by(at(), true, exported).await, NAMES[1..]);
        let ignored = ContainerdConfig::Ignored;
        assert_eq!(protected_by(ignored, true, exported).await, [""; 0]);
    }

    /// The clones of an engine share the protection.
    #[tokio::test]
    async fn a_new_protection_replaces_the_old_one() {
        let fake = Fake::new("2.1.9");
        let engine = Engine::new(Containerd::from_channel(fake.channel()));
        let rules = || Protection {
            references: vec!["app:*".parse().unwrap()],
            ..Protection::default()
        };
        let config = ContainerdConfig::At("/a".into());
        engine.protect(rules(), ContainerdConfig::Unseen);
        let engine = engine.with_containerd_config(config.clone());
        assert_eq!(engine.protection().references, rules().references);
        engine.clone().protect(Protection::default(), config);
        assert!(engine.protection().references.is_empty());
    }
}
