//! Keeps the images that a node needs to run pods, in every prune.
//!
//! Without pods, only containerd's configuration shows that the sandbox image is needed; from 2.4 on
//! containerd says itself which one it uses. If neither can be seen, the defaults of all containerd releases are kept, and a warning names
//! the removed images that may be needed.

use std::path::{Path, PathBuf};

use reclaim_model::{Plan, PodImages, ResolvedRequest, Selection, familiar_name};
use tokio::task::spawn_blocking;

use super::KUBELET_NAMESPACE;
use super::sandbox::NeededImages;
use super::sandbox_files::{SandboxImages, read_needed_images};

/// The location of containerd's configuration, which names the images for pods.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ContainerdConfig {
    /// It cannot be seen from here.
    #[default]
    Unseen,
    /// It is this file. If the file does not exist, it cannot be seen.
    At(PathBuf),
    /// No image is kept for pods.
    Ignored,
}

impl ContainerdConfig {
    /// Returns the images that pods need by this configuration, and by the running containerd, if it
    /// says which sandbox image it uses.
    pub(crate) async fn pod_images(&self, running: Option<&str>) -> PodImages {
        match self.clone() {
            Self::Ignored => PodImages::default(),
            Self::Unseen => {
                let mut needed = NeededImages::default();
                if let Some(image) = running {
                    needed.add_running(image);
                }
                PodImages {
                    names: needed.names(),
                    ..PodImages::default()
                }
            }
            Self::At(path) => {
                let running = running.map(str::to_owned);
                let reading = move || read_needed_images(&path, running.as_deref());
                let read = spawn_blocking(reading).await;
                let SandboxImages { names, warnings } =
                    read.unwrap_or_else(|error| SandboxImages {
                        names: NeededImages::default().names(),
                        warnings: vec![error.to_string()],
                    });
                PodImages {
                    names,
                    is_partial: !warnings.is_empty(),
                    ..PodImages::default()
                }
            }
        }
    }

    /// Returns warnings about images that a prune removes and pods may need, if the configuration cannot
    /// be seen. It accesses the file, so it may block.
    pub(crate) fn warnings(&self, request: &ResolvedRequest, plan: &Plan) -> Vec<String> {
        if !matches!(request.selection, Selection::Filters(_)) {
            return Vec::new();
        }
        let is_kubelets = request.namespace.as_str() == KUBELET_NAMESPACE;
        let Some(why) = self.unseen() else {
            return Vec::new();
        };
        let likely = plan.steps.iter().map(|it| &it.image);
        let mut likely: Vec<_> = likely
            .filter(|image| is_kubelets || image.is_cri_managed())
            .filter(|image| PodImages::is_likely(&image.name))
            .collect();
        // One warning for each image; its tag sorts before its digest.
        likely.sort_by(|a, b| (&a.target.digest, &a.name).cmp(&(&b.target.digest, &b.name)));
        likely.dedup_by(|later, first| later.target.digest == first.target.digest);
        let warnings = likely.into_iter().map(|image| {
            let name = familiar_name(&image.name);
            format!("image `{name}` may be the sandbox image of pods: {why}; pin it to keep it")
        });
        warnings.collect()
    }

    /// Returns why the images that pods need are unknown, if so.
    fn unseen(&self) -> Option<String> {
        match self {
            Self::Unseen => Some("containerd's configuration cannot be seen".to_owned()),
            Self::At(path) if is_missing(path) => {
                let path = path.display();
                Some(format!(
                    "containerd's configuration `{path}` does not exist"
                ))
            }
            Self::At(_) | Self::Ignored => None,
        }
    }
}

fn is_missing(path: &Path) -> bool {
    matches!(path.try_exists(), Ok(false))
}
