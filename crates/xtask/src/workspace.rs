//! The workspace, from `cargo metadata`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::failure::Failure;
use crate::shell;

/// The directories and packages of the workspace.
#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
    pub(crate) packages: Vec<Package>,
}

/// One package of the workspace.
#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) manifest: PathBuf,
    /// Whether its manifest allows it to be published.
    pub(crate) is_published: bool,
    /// The packages of the workspace that it depends on.
    pub(crate) dependencies: BTreeSet<String>,
    /// The packages of the workspace that only its tests, examples and benches depend on.
    pub(crate) dev_dependencies: BTreeSet<String>,
    pub(crate) has_benches: bool,
    /// The integration tests that run by default.
    tests: BTreeSet<String>,
    /// The integration tests that start no containerd, from the manifest:
    /// `package.metadata.reclaim.without-containerd`.
    without_containerd: BTreeSet<String>,
}

impl Workspace {
    /// Reads `cargo metadata`.
    pub(crate) fn read() -> Result<Self, Failure> {
        let mut command = shell::cargo();
        command
            .args(["metadata", "--locked", "--no-deps", "--format-version", "1"])
            .current_dir(env!("CARGO_MANIFEST_DIR"));
        let text = shell::read(&mut command)?;
        let metadata: Value = serde_json::from_str(&text)
            .map_err(|error| Failure::new(format!("read `cargo metadata`: {error}")))?;
        Self::from_metadata(&metadata)
            .ok_or_else(|| Failure::new("read `cargo metadata`: unexpected format"))
    }

    fn from_metadata(metadata: &Value) -> Option<Self> {
        let packages = metadata["packages"].as_array()?;
        let names = packages
            .iter()
            .map(|package| package["name"].as_str())
            .collect::<Option<BTreeSet<&str>>>()?;
        Some(Self {
            root: metadata["workspace_root"].as_str()?.into(),
            target: metadata["target_directory"].as_str()?.into(),
            packages: packages
                .iter()
                .map(|package| Package::from_metadata(package, &names))
                .collect::<Option<_>>()?,
        })
    }

    /// Returns the packages whose tests start a containerd: the test kit and its users.
    pub(crate) fn containerd_users(&self) -> Vec<&str> {
        const KIT: &str = "reclaim-testkit";
        self.packages
            .iter()
            .filter(|package| package.name == KIT || package.dev_dependencies.contains(KIT))
            .map(|package| package.name.as_str())
            .collect()
    }

    /// Returns the integration tests of these packages that may start a containerd.
    pub(crate) fn containerd_tests(&self) -> Vec<&str> {
        self.tests_of_users(|package| package.tests.difference(&package.without_containerd))
    }

    /// Returns the integration tests of these packages that start none.
    pub(crate) fn tests_without_containerd(&self) -> Vec<&str> {
        self.tests_of_users(|package| package.tests.intersection(&package.without_containerd))
    }

    fn tests_of_users<'own, I: Iterator<Item = &'own String>>(
        &'own self,
        of: impl Fn(&'own Package) -> I,
    ) -> Vec<&'own str> {
        let users = self.containerd_users();
        self.packages
            .iter()
            .filter(|package| users.contains(&package.name.as_str()))
            .flat_map(of)
            .map(String::as_str)
            .collect()
    }

    /// Returns a cargo command that runs at the root.
    pub(crate) fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = shell::cargo();
        command.args(arguments).current_dir(&self.root);
        command
    }

    /// Creates an empty directory below the target directory. An existing one is removed first, unless
    /// it contains other filesystems.
    pub(crate) fn empty_directory(&self, name: &str) -> Result<PathBuf, Failure> {
        let path = self.target.join(name);
        shell::remove_tree(&path)?;
        std::fs::create_dir_all(&path).map_err(|error| Failure::file("create", &path, &error))?;
        Ok(path)
    }

    /// Returns a path relative to the root.
    pub(crate) fn short<'path>(&self, path: &'path Path) -> std::path::Display<'path> {
        path.strip_prefix(&self.root).unwrap_or(path).display()
    }
}

impl Package {
    fn from_metadata(package: &Value, members: &BTreeSet<&str>) -> Option<Self> {
        let mut dependencies = BTreeSet::new();
        let mut dev_dependencies = BTreeSet::new();
        for dependency in package["dependencies"].as_array()? {
            let name = dependency["name"].as_str()?;
            if members.contains(name) {
                let is_dev = dependency["kind"].as_str() == Some("dev");
                let set = if is_dev {
                    &mut dev_dependencies
                } else {
                    &mut dependencies
                };
                set.insert(name.to_owned());
            }
        }
        let targets = package["targets"].as_array()?;
        let mut kinds = targets.iter().map(|target| &target["kind"][0]);
        let tests = targets
            .iter()
            .filter(|target| target["kind"][0] == "test" && target["test"] == true);
        let without_containerd = &package["metadata"]["reclaim"]["without-containerd"];
        Some(Self {
            name: package["name"].as_str()?.to_owned(),
            version: package["version"].as_str()?.to_owned(),
            manifest: package["manifest_path"].as_str()?.into(),
            // A list of registries; null is any.
            is_published: package["publish"]
                .as_array()
                .is_none_or(|to| !to.is_empty()),
            dependencies,
            dev_dependencies,
            has_benches: kinds.any(|kind| kind == "bench"),
            tests: names_of(tests.map(|target| &target["name"]))?,
            without_containerd: names_of(without_containerd.as_array().into_iter().flatten())?,
        })
    }
}

fn names_of<'value>(values: impl Iterator<Item = &'value Value>) -> Option<BTreeSet<String>> {
    values
        .map(|value| value.as_str().map(str::to_owned))
        .collect()
}
