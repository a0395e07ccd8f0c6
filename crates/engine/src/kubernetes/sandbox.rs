//! Parses containerd's configuration for the images that it needs for pods.
//!
//! Up to containerd 1.7 that is `sandbox_image` of the CRI plugin, from 2.0 on the images of
//! `pinned_images`. Both are read from files of any version: containerd converts older files, and an
//! extra name costs less than a missing one.
//!
//! # Several files
//!
//! An imported file comes after the file that imports it, and replaces its values. If an imported file
//! has the plugin's section without the image, containerd 1.x replaces the whole section, so the
//! default applies again; 2.x does not. The version of containerd is unknown here, so both images
//! count as needed.

use std::collections::{BTreeMap, BTreeSet};

use reclaim_model::Reference;
use toml::{Table, Value};

/// The sandbox images of the releases of containerd: of 1.6 (before and since it moved), 1.7, 2.0
/// and 2.1, 2.2, and 2.3.
pub(crate) const DEFAULT_SANDBOX_IMAGES: [&str; 6] = [
    "k8s.gcr.io/pause:3.6",
    "registry.k8s.io/pause:3.6",
    "registry.k8s.io/pause:3.8",
    "registry.k8s.io/pause:3.10",
    "registry.k8s.io/pause:3.10.1",
    "registry.k8s.io/pause:3.10.2",
];

/// The CRI plugin in files of version 1 and 2.
const PLUGINS: [&str; 2] = ["cri", "io.containerd.grpc.v1.cri"];

/// The image plugin of CRI in files of version 3.
const IMAGES_PLUGIN: &str = "io.containerd.cri.v1.images";

/// The key of the sandbox image in `pinned_images`.
const SANDBOX: &str = "sandbox";

/// The settings of one configuration file for the images that pods need.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ContainerdFile {
    /// The imports: paths or patterns, relative to the file.
    pub(crate) imports: Vec<String>,
    /// The directories of the registries' hosts, separated by colons.
    pub(crate) registry_hosts: Option<String>,
    /// The images, by their key.
    pinned: BTreeMap<String, String>,
    /// Whether it has the section without the sandbox image.
    may_reset: bool,
}

/// Why a file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ContainerdFileError {
    /// The file is not TOML.
    #[error("it is not TOML: {0}")]
    Toml(String),
    /// A key has a value of the wrong type.
    #[error("`{key}` is not {accepts}")]
    Kind {
        /// The full key.
        key: String,
        /// The accepted type.
        accepts: &'static str,
    },
}

impl ContainerdFile {
    /// Parses a file.
    ///
    /// # Errors
    ///
    /// [`ContainerdFileError`]. Then the needed images are unknown.
    pub(crate) fn parse(text: &str) -> Result<Self, ContainerdFileError> {
        let table: Table = text
            .parse()
            .map_err(|error: toml::de::Error| ContainerdFileError::Toml(error.message().into()))?;
        let mut file = Self::default();
        if let Some(imports) = table.get("imports") {
            let wrong = || kind("imports", "a list of strings");
            for import in imports.as_array().ok_or_else(wrong)? {
                let import = import.as_str().ok_or_else(wrong)?;
                file.imports.push(import.to_owned());
            }
        }
        let Some(plugins) = table.get("plugins") else {
            return Ok(file);
        };
        let plugins = as_table(plugins, "plugins")?;
        for name in PLUGINS {
            let Some(plugin) = plugins.get(name) else {
                continue;
            };
            let place = format!("plugins.{name}");
            let plugin = as_table(plugin, &place)?;
            file.take_hosts(plugin);
            match plugin.get("sandbox_image") {
                Some(image) => file.take(SANDBOX, image, &format!("{place}.sandbox_image"))?,
                None => file.may_reset = true,
            }
        }
        if let Some(plugin) = plugins.get(IMAGES_PLUGIN) {
            let place = format!("plugins.{IMAGES_PLUGIN}");
            let plugin = as_table(plugin, &place)?;
            file.take_hosts(plugin);
            if let Some(pinned) = plugin.get("pinned_images") {
                let place = format!("{place}.pinned_images");
                for (key, image) in as_table(pinned, &place)? {
                    file.take(key, image, &format!("{place}.{key}"))?;
                }
            }
        }
        Ok(file)
    }

    fn take_hosts(&mut self, plugin: &Table) {
        let path = plugin.get("registry").and_then(|it| it.get("config_path"));
        if let Some(path) = path.and_then(Value::as_str) {
            self.registry_hosts = Some(path.to_owned());
        }
    }

    fn take(&mut self, key: &str, image: &Value, place: &str) -> Result<(), ContainerdFileError> {
        let image = image.as_str().ok_or_else(|| kind(place, "a text"))?;
        if image.is_empty() {
            // Some versions treat an empty name as not set.
            self.may_reset = true;
        } else {
            self.pinned.insert(key.to_owned(), image.to_owned());
        }
        Ok(())
    }
}

fn as_table<'t>(value: &'t Value, place: &str) -> Result<&'t Table, ContainerdFileError> {
    value.as_table().ok_or_else(|| kind(place, "a table"))
}

fn kind(key: &str, accepts: &'static str) -> ContainerdFileError {
    ContainerdFileError::Kind {
        key: key.to_owned(),
        accepts,
    }
}

/// The images that several files need together.
#[derive(Debug, Clone, Default)]
pub(crate) struct NeededImages {
    by_key: BTreeMap<String, BTreeSet<String>>,
}

impl NeededImages {
    /// Adds the next file, in containerd's order.
    pub(crate) fn take(&mut self, file: ContainerdFile) {
        if file.may_reset {
            let sandbox = self.by_key.entry(SANDBOX.to_owned()).or_default();
            sandbox.extend(DEFAULT_SANDBOX_IMAGES.map(str::to_owned));
        }
        for (key, image) in file.pinned {
            self.by_key.insert(key, BTreeSet::from([image]));
        }
    }

    /// Adds the sandbox image that the running containerd says that it uses. It replaces the
    /// defaults, but not what a file sets: the file may have changed since containerd was started.
    pub(crate) fn add_running(&mut self, image: &str) {
        let sandbox = self.by_key.entry(SANDBOX.to_owned()).or_default();
        sandbox.insert(image.to_owned());
    }

    /// Returns the names that records of these images may have, sorted: as written, and in full; for a
    /// name with tag and digest also with each alone.
    pub(crate) fn names(mut self) -> Vec<String> {
        let defaults = || DEFAULT_SANDBOX_IMAGES.map(str::to_owned).into();
        self.by_key
            .entry(SANDBOX.to_owned())
            .or_insert_with(defaults);
        let written: BTreeSet<String> = self.by_key.into_values().flatten().collect();
        let mut names = written.clone();
        for name in written {
            let Ok(reference) = Reference::parse_normalized(&name) else {
                continue;
            };
            if let Some(digest) = reference.digest() {
                names.insert(format!("{}@{digest}", reference.repository()));
                if let Some(tag) = reference.tag() {
                    names.insert(format!("{}:{tag}", reference.repository()));
                }
            }
            names.insert(reference.with_default_tag().to_string());
        }
        names.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(files: &[&str]) -> Vec<String> {
        let mut needed = NeededImages::default();
        for file in files {
            needed.take(ContainerdFile::parse(file).unwrap());
        }
        needed.names()
    }

    fn defaults() -> Vec<String> {
        names(&[""])
    }

    const V1: &str = "[plugins.cri]\nsandbox_image = \"mirror.example/pause:1\"";
    const V2: &str = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\"]\n\
                      sandbox_image = \"mirror.example/pause:2\"";
    const V3: &str = "version = 3\n[plugins.'io.containerd.cri.v1.images'.pinned_images]\n\
                      sandbox = 'mirror.example/pause:3'\nbase = 'mirror.example/base:1'";

    #[test]
    fn reads_every_version_of_the_file() {
        assert_eq!(names(&[V1]), ["mirror.example/pause:1"]);
        assert_eq!(names(&[V2]), ["mirror.example/pause:2"]);
        assert_eq!(
            names(&[V3]),
            ["mirror.example/base:1", "mirror.example/pause:3"]
        );
    }

    #[test]
    fn without_a_setting_the_defaults_of_all_releases_are_needed() {
        assert_eq!(defaults().len(), DEFAULT_SANDBOX_IMAGES.len());
        // Other pinned images do not replace the sandbox image.
        let base = "[plugins.'io.containerd.cri.v1.images'.pinned_images]\nbase = 'b:1'";
        let found = names(&[base]);
        assert!(found.contains(&"docker.io/library/b:1".to_owned()));
        assert!(defaults().iter().all(|it| found.contains(it)));
        let empty = "[plugins.cri]\nsandbox_image = \"\"";
        assert_eq!(names(&[empty]), defaults());
    }

    #[test]
    fn what_the_running_containerd_uses_replaces_the_defaults() {
        let needed = |files: &[&str]| {
            let mut needed = NeededImages::default();
            for file in files {
                needed.take(ContainerdFile::parse(file).unwrap());
            }
            needed.add_running("acme/pause:9");
            needed.names()
        };
        let [written, full] = ["acme/pause:9", "docker.io/acme/pause:9"];
        assert_eq!(needed(&[]), [written, full]);
        assert_eq!(needed(&[V1]), [written, full, "mirror.example/pause:1"]);
    }

    #[test]
    fn a_later_file_replaces_what_it_sets() {
        assert_eq!(names(&[V1, V2]), ["mirror.example/pause:2"]);
        assert_eq!(names(&[V2, ""]), ["mirror.example/pause:2"]);
        assert_eq!(
            names(&[V3, V2]),
            ["mirror.example/base:1", "mirror.example/pause:2"]
        );
    }

    #[test]
    fn a_section_without_the_image_may_bring_the_default_back() {
        let section = "[plugins.\"io.containerd.grpc.v1.cri\"]\nenable_selinux = true";
        let found = names(&[V2, section]);
        assert!(found.contains(&"mirror.example/pause:2".to_owned()));
        assert!(defaults().iter().all(|it| found.contains(it)));
        // A later setting applies again.
        assert_eq!(names(&[section, V2]), ["mirror.example/pause:2"]);
    }

    #[test]
    fn a_name_has_all_forms_that_records_may_have() {
        let digest = format!("sha256:{}", "d".repeat(64));
        let text = format!("[plugins.cri]\nsandbox_image = \"acme/pause:9@{digest}\"");
        assert_eq!(
            names(&[&text]),
            [
                format!("acme/pause:9@{digest}"),
                "docker.io/acme/pause:9".to_owned(),
                format!("docker.io/acme/pause:9@{digest}"),
                format!("docker.io/acme/pause@{digest}"),
            ]
        );
    }

    #[test]
    fn a_truncated_file_has_no_other_image() {
        for text in [V1, V2, V3] {
            for end in 0..text.len() {
                let Ok(file) = ContainerdFile::parse(&text[..end]) else {
                    continue;
                };
                let mut needed = NeededImages::default();
                needed.take(file);
                let whole = names(&[text]);
                for name in needed.names() {
                    let is_known = whole.contains(&name) || defaults().contains(&name);
                    assert!(is_known, "{end}: {name}");
                }
            }
        }
    }

    #[test]
    fn values_of_the_wrong_type_are_errors() {
        for (text, words) in [
            ("plugins = 1", "`plugins` is not a table"),
            ("imports = 'x'", "`imports` is not a list of strings"),
            ("imports = [1]", "`imports` is not a list of strings"),
            (
                "[plugins.cri]\nsandbox_image = 3",
                "`plugins.cri.sandbox_image` is not a text",
            ),
            (
                "[plugins.'io.containerd.cri.v1.images']\npinned_images = []",
                "`plugins.io.containerd.cri.v1.images.pinned_images` is not a table",
            ),
            ("[plugins", "it is not TOML"),
        ] {
            let error = ContainerdFile::parse(text).unwrap_err().to_string();
            assert!(error.starts_with(words), "{text}: {error}");
        }
    }
}
