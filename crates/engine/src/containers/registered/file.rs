//! The lists on disk: one file for each owner, replaced atomically.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use reclaim_model::{Container, ContainerState, SnapshotId};
use serde::{Deserialize, Serialize};

use super::{List, Lists, OwnerName};
use crate::state;

/// The version of the file format.
const VERSION: u32 = 1;

const SUFFIX: &str = ".json";

/// A file of lists that cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("read `{}`", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("`{}` is damaged: {problem}", path.display())]
    Damaged { path: PathBuf, problem: String },
    #[error("`{}` is of version {version}, and this program knows {VERSION}", path.display())]
    Version { path: PathBuf, version: u32 },
}

#[derive(Serialize, Deserialize)]
struct Versioned {
    version: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OwnerFile {
    version: u32,
    owner: String,
    lists: BTreeMap<String, ListFile>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListFile {
    expires: Timestamp,
    containers: Vec<ContainerFile>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ContainerFile {
    id: String,
    image: String,
    image_digest: Option<String>,
    mounts: Vec<String>,
    snapshot: Option<(String, String)>,
    labels: BTreeMap<String, String>,
    is_running: Option<bool>,
}

impl ReadError {
    /// Returns the file.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Io { path, .. } | Self::Damaged { path, .. } | Self::Version { path, .. } => path,
        }
    }
}

/// Returns the file of an owner.
pub(super) fn path(directory: &Path, owner: &OwnerName) -> PathBuf {
    directory.join(format!("{owner}{SUFFIX}"))
}

/// Reads the files of all owners: the lists or the error of each.
pub(super) fn read_all(directory: &Path) -> io::Result<Vec<Result<(OwnerName, Lists), ReadError>>> {
    match state::make_directory(directory) {
        // A missing directory has no lists.
        Err(error) if state::is_full(&error) && !directory.exists() => return Ok(Vec::new()),
        made => made?,
    }
    let mut read = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        // A partial file of a crash has another suffix.
        let name = path.file_name().and_then(|it| it.to_str());
        if name.is_some_and(|it| it.ends_with(SUFFIX)) {
            read.push(self::read(path));
        }
    }
    Ok(read)
}

fn read(path: PathBuf) -> Result<(OwnerName, Lists), ReadError> {
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(source) => return Err(ReadError::Io { path, source }),
    };
    match parse(&bytes) {
        Ok((owner, _)) if !path.ends_with(format!("{owner}{SUFFIX}")) => {
            // A copy, and it is unknown which of them is newer.
            let problem = format!("it holds the lists of `{owner}`");
            Err(ReadError::Damaged { path, problem })
        }
        Ok(parsed) => Ok(parsed),
        Err(Problem::Version(version)) => Err(ReadError::Version { path, version }),
        Err(Problem::Damage(problem)) => Err(ReadError::Damaged { path, problem }),
    }
}

enum Problem {
    Version(u32),
    Damage(String),
}

impl Problem {
    #[expect(clippy::needless_pass_by_value, reason = "for map_err")]
    fn damage(problem: impl ToString) -> Self {
        Self::Damage(problem.to_string())
    }
}

fn parse(bytes: &[u8]) -> Result<(OwnerName, Lists), Problem> {
    let Versioned { version } = serde_json::from_slice(bytes).map_err(Problem::damage)?;
    if version != VERSION {
        return Err(Problem::Version(version));
    }
    let file: OwnerFile = serde_json::from_slice(bytes).map_err(Problem::damage)?;
    let owner = file.owner.parse().map_err(Problem::damage)?;
    let mut lists = Lists::new();
    for (namespace, list) in file.lists {
        let namespace = namespace.parse().map_err(Problem::damage)?;
        let mut containers = BTreeMap::new();
        for container in list.containers {
            let container = of_file(container)?;
            containers.insert(container.id.clone(), container);
        }
        let expires = list.expires;
        lists.insert(
            namespace,
            List {
                expires,
                containers,
            },
        );
    }
    Ok((owner, lists))
}

fn of_file(file: ContainerFile) -> Result<Container, Problem> {
    let digest = file.image_digest.map(|it| it.parse()).transpose();
    Ok(Container {
        id: file.id,
        image: file.image,
        image_digest: digest.map_err(Problem::damage)?,
        mounts: file.mounts,
        snapshot: file
            .snapshot
            .map(|(snapshotter, key)| SnapshotId::new(snapshotter, key)),
        labels: file.labels,
        state: match file.is_running {
            None => ContainerState::Unknown,
            Some(true) => ContainerState::Running,
            Some(false) => ContainerState::Stopped,
        },
        ..Container::default()
    })
}

fn to_file(container: &Container) -> ContainerFile {
    let Container {
        id,
        image,
        image_digest,
        mounts,
        snapshot,
        // An owner does not say the rest.
        source: _,
        image_manifest: _,
        image_config: _,
        mounted_snapshots: _,
        created: _,
        gc: _,
        labels,
        state,
    } = container;
    let snapshot = snapshot.as_ref();
    ContainerFile {
        id: id.clone(),
        image: image.clone(),
        image_digest: image_digest.as_ref().map(ToString::to_string),
        mounts: mounts.clone(),
        snapshot: snapshot.map(|it| (it.snapshotter.to_string(), it.key.to_string())),
        labels: labels.clone(),
        is_running: match state {
            ContainerState::Unknown => None,
            ContainerState::Running => Some(true),
            ContainerState::Stopped => Some(false),
        },
    }
}

/// Writes the lists of an owner. After a crash the file has either the old or the new ones. An owner
/// without lists has no file.
pub(super) fn write(directory: &Path, owner: &OwnerName, lists: &Lists) -> io::Result<()> {
    let path = path(directory, owner);
    if lists.is_empty() {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        return sync(directory);
    }
    let lists = lists.iter().map(|(namespace, list)| {
        let list = ListFile {
            expires: list.expires,
            containers: list.containers.values().map(to_file).collect(),
        };
        (namespace.to_string(), list)
    });
    let file = OwnerFile {
        version: VERSION,
        owner: owner.to_string(),
        lists: lists.collect(),
    };
    state::make_directory(directory)?;
    state::replace(&path, &serde_json::to_vec(&file)?)
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}
