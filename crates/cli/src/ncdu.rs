//! The store in the form that ncdu exports, for `df --format ncdu`.
//!
//! An image is a folder below its repository, and has a folder for each manifest. An object that
//! several images have is a hard link: ncdu and gdu count it once, however often it is listed.
//!
//! Source: <https://dev.yorhel.nl/ncdu/jsonfmt>, version 1.2.

use std::collections::{BTreeMap, BTreeSet};

use reclaim_model::{
    Column, ManifestObjects, NamespaceMap, NamespaceUsage, ObjectKind, Printable, StoreMap,
    StoredObject, familiar_name, shortened,
};
use serde::Serialize;
use serde::ser::{SerializeSeq, Serializer};

use crate::text::df::column_name;

/// The number of the one device that everything is on.
const DEVICE: u64 = 1;

/// An export of ncdu: its version, its origin, and the tree.
#[derive(Debug, Serialize)]
pub(crate) struct Export(u32, u32, Origin, Folder);

#[derive(Debug, Serialize)]
struct Origin {
    progname: &'static str,
    progver: &'static str,
    timestamp: i64,
}

/// A folder: the entries below it by name.
#[derive(Debug, Default)]
struct Folder {
    name: String,
    folders: BTreeMap<String, Folder>,
    files: Vec<File>,
}

#[derive(Debug, Clone, Serialize)]
struct File {
    name: String,
    asize: u64,
    dsize: u64,
    /// The same for all places of one object; `None` for what is in one place only.
    #[serde(skip_serializing_if = "Option::is_none")]
    ino: Option<u64>,
    #[serde(skip_serializing_if = "is_false")]
    hlnkc: bool,
}

#[derive(Debug, Serialize)]
struct FolderInfo<'a> {
    name: &'a str,
    dev: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it")]
fn is_false(value: &bool) -> bool {
    !value
}

impl Serialize for Folder {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let entries = 1 + self.folders.len() + self.files.len();
        let mut form = serializer.serialize_seq(Some(entries))?;
        form.serialize_element(&FolderInfo {
            name: &self.name,
            dev: DEVICE,
        })?;
        for folder in self.folders.values() {
            form.serialize_element(folder)?;
        }
        for file in &self.files {
            form.serialize_element(file)?;
        }
        form.end()
    }
}

impl Folder {
    /// Returns the folder at a path below this one. Slashes separate folders, so names have none.
    fn at(&mut self, path: impl IntoIterator<Item = String>) -> &mut Self {
        path.into_iter().fold(self, |folder, name| {
            let below = folder.folders.entry(name.clone()).or_default();
            below.name = name;
            below
        })
    }

    fn add(&mut self, name: impl Into<String>, bytes: u64) {
        if bytes > 0 {
            self.files.push(File {
                name: name.into(),
                asize: bytes,
                dsize: bytes,
                ino: None,
                hlnkc: false,
            });
        }
    }
}

/// Builds the export.
pub(crate) fn export(map: &StoreMap) -> Export {
    let mut root = Folder {
        name: "containerd".to_owned(),
        ..Folder::default()
    };
    // Blobs are shared by namespaces, snapshots are not.
    let mut inodes = BTreeMap::new();
    for (usage, objects) in map.usage.namespaces.iter().zip(&map.namespaces) {
        let namespace = usage.namespace.to_string();
        let mut number = |object: &StoredObject| {
            let within = (object.kind == ObjectKind::Snapshot).then(|| namespace.clone());
            let next = inodes.len() as u64 + 1;
            *inodes.entry((within, object.id.clone())).or_insert(next)
        };
        let files: Vec<File> = objects
            .objects
            .iter()
            .map(|object| file(object, number(object)))
            .collect();
        let folder = root.at([namespace]);
        add_namespace(folder, usage, objects, &files);
    }
    let orphaned = map.usage.total.column(Column::Orphaned).total_bytes();
    root.add(column_name(Column::Orphaned), orphaned);
    if let Some(outside) = &map.usage.outside_records {
        let unrecorded = outside.unrecorded.iter().map(|found| found.bytes).sum();
        root.add("Directories without a record", unrecorded);
        root.add("containerd's own files", outside.own_bytes);
    }
    let origin = Origin {
        progname: "reclaim",
        progver: env!("CARGO_PKG_VERSION"),
        timestamp: map.observed_at.as_second(),
    };
    Export(1, 2, origin, root)
}

fn file(object: &StoredObject, inode: u64) -> File {
    let bytes = object.bytes.unwrap_or(0);
    File {
        name: format!("{} {}", object.kind.text(), part(&object.id)),
        asize: bytes,
        dsize: bytes,
        ino: Some(inode),
        hlnkc: true,
    }
}

/// Returns a text as the name of a folder or file.
fn part(text: &str) -> String {
    let name = Printable(text).to_string().replace('/', " ");
    match &*name {
        "" | "." | ".." => format!("{name} "),
        _ => name,
    }
}

fn add_namespace(folder: &mut Folder, usage: &NamespaceUsage, map: &NamespaceMap, files: &[File]) {
    let mut listed = BTreeSet::new();
    let images = usage.image_usage.iter().flatten().zip(&map.images);
    for (image, manifests) in images {
        let name = familiar_name(&image.name);
        let image =
            folder.at(std::iter::once("images".to_owned()).chain(name.split('/').map(part)));
        for manifest in manifests {
            let below = image.at([platform(manifest)]);
            for object in &manifest.objects {
                listed.insert(*object);
                below.files.push(files[*object as usize].clone());
            }
        }
    }
    for (position, object) in (0..).zip(&map.objects) {
        if !listed.contains(&position) {
            let below = folder.at([column_name(object.column).to_owned()]);
            below.files.push(files[position as usize].clone());
        }
    }
    for column in [Column::Ingest, Column::Unknown] {
        folder.add(
            column_name(column),
            usage.usage.column(column).total_bytes(),
        );
    }
}

fn platform(manifest: &ManifestObjects) -> String {
    match &manifest.platform {
        Some(platform) => part(&platform.to_string()),
        None => part(&shortened(&manifest.digest.to_string())),
    }
}
