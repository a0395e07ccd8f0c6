//! The protection that containerd's own configuration adds. It is read when the daemon starts, at
//! each reload, and for an explanation.

use reclaim_engine::{SandboxImages, read_sandbox_images};
use reclaim_model::Protection;

use super::meaning::{Config, Infrastructure};

/// What is protected if the sandbox image is unknown: every image that could be one.
const MAY_BE_SANDBOX: [&str; 2] = ["*pause*", "*sandbox*"];

/// Returns what no policy removes, including the images that pods need by containerd's
/// configuration, and warnings about what of that could not be read.
pub(crate) fn protection_with_sandboxes(config: &Config) -> (Protection, Vec<String>) {
    let mut protection = config.protection.clone();
    if config.infrastructure == Infrastructure::Free {
        return (protection, Vec::new());
    }
    let found = read_sandbox_images(&config.containerd_toml);
    if !found.is_whole() {
        let all = MAY_BE_SANDBOX.map(|it| it.parse().expect("a glob"));
        protection.references.extend(all);
    }
    let SandboxImages { names, warnings } = found;
    protection.sandbox_images.extend(names);
    (protection, warnings)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use reclaim_maintenance::kubelet_warnings;

    use super::super::parse;
    use super::*;

    fn config(folder: &Path, more: &str) -> Config {
        let text = format!(
            "[containerd]\nconfig = '{folder}/containerd.toml'\nnamespaces = ['k8s.io']\n\
             [kubernetes]\nkubelet_config = '{folder}/kubelet.yaml'\n{more}",
            folder = folder.display()
        );
        parse(&text, Path::new("test.toml")).unwrap()
    }

    fn protects(protection: &Protection, name: &str) -> bool {
        protection.references.iter().any(|it| it.matches(name))
            || protection.sandbox_images.iter().any(|it| it == name)
    }

    #[test]
    fn protects_the_sandbox_image_or_every_possible_one_if_it_is_unknown() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let named = "r.example/pod-base:1";
        let text = format!("[plugins.cri]\nsandbox_image = '{named}'");
        fs::write(folder.join("containerd.toml"), text).unwrap();
        let (protection, warnings) = protection_with_sandboxes(&config(folder, ""));
        assert!(warnings.is_empty(), "{warnings:?}");
        assert!(protects(&protection, named));
        assert!(!protects(&protection, "r.example/my-pause-amd64:1"));
        assert!(!protects(&protection, "docker.io/library/app:1"));

        fs::write(folder.join("containerd.toml"), "[plugins").unwrap();
        let (protection, warnings) = protection_with_sandboxes(&config(folder, ""));
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(protects(&protection, "r.example/my-pause-amd64:1"));
        assert!(protects(&protection, "r.example/pod/sandbox:1"));
        assert!(!protects(&protection, "docker.io/library/app:1"));

        let free = config(folder, "[protect]\ninfrastructure = false");
        let (protection, warnings) = protection_with_sandboxes(&free);
        assert!(warnings.is_empty());
        assert!(!protects(&protection, "registry.k8s.io/pause:3.10"));
    }

    #[test]
    fn warns_about_the_kubelet_only_if_there_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let policy = "[[policy]]\nname = 'p'\nhigh = '90%'\nlow = '80%'";
        let config = config(folder, policy);
        let warnings = || kubelet_warnings(&config.policies[0], &config.kubelet_yaml);
        assert!(warnings().is_empty());
        fs::write(folder.join("kubelet.yaml"), "kind: KubeletConfiguration").unwrap();
        assert_eq!(warnings().len(), 2, "{:?}", warnings());
        fs::write(folder.join("kubelet.yaml"), "kind: Nonsense").unwrap();
        assert!(warnings()[0].contains("`Nonsense`"), "{:?}", warnings());
    }
}
