//! The text of a store for failure messages: one line per object, with shortened digests.

use std::fmt;

use super::store::{ObjectKind, RandomStore, StoreObject};
use crate::namespace::digest_of;

/// The characters of a shortened digest, enough to distinguish those of one store.
const SHORT: usize = 8;

impl fmt::Display for RandomStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "seed {}, {} objects",
            self.seed,
            self.objects.len()
        )?;
        self.objects
            .iter()
            .try_for_each(|object| writeln!(formatter, "  {object}"))
    }
}

impl fmt::Display for StoreObject {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:8} {}", self.namespace, self.kind)?;
        for (key, value) in &self.labels {
            write!(formatter, "  {key}={}", shortened(value))?;
        }
        Ok(())
    }
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blob { bytes, note } => {
                let digest = shortened(&digest_of(bytes).to_string());
                write!(formatter, "blob {digest} {} bytes ({note})", bytes.len())
            }
            Self::Snapshot {
                snapshotter,
                key,
                parent,
                kind,
                bytes,
            } => {
                let key = shortened(key);
                write!(
                    formatter,
                    "snapshot {snapshotter}/{key} {kind:?} {bytes} bytes"
                )?;
                match parent {
                    Some(parent) => write!(formatter, " on {}", shortened(parent)),
                    None => Ok(()),
                }
            }
            Self::Image {
                name,
                target,
                created,
            } => {
                let digest = shortened(&target.digest.to_string());
                write!(formatter, "image `{}` -> {digest}", shortened(name))?;
                match created {
                    Some(created) => write!(formatter, " created {created}"),
                    None => Ok(()),
                }
            }
            Self::Container {
                id,
                image,
                snapshot,
            } => {
                write!(formatter, "container `{id}` of `{}`", shortened(image))?;
                match snapshot {
                    Some((snapshotter, key)) => {
                        write!(formatter, " on {snapshotter}/{}", shortened(key))
                    }
                    None => Ok(()),
                }
            }
            Self::Lease { id, resources } => {
                write!(formatter, "lease `{id}` of")?;
                resources.iter().try_for_each(|resource| {
                    write!(formatter, " {}/{}", resource.kind, shortened(&resource.id))
                })
            }
            Self::Ingest { reference, bytes } => {
                write!(formatter, "ingest `{reference}` {bytes} bytes")
            }
            Self::Sandbox { id } => write!(formatter, "sandbox `{id}`"),
        }
    }
}

/// Shortens every SHA-256 digest in a text.
fn shortened(text: &str) -> String {
    const ALGORITHM: &str = "sha256:";
    let mut parts = text.split(ALGORITHM);
    let mut short = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let hex = part.bytes().take_while(u8::is_ascii_hexdigit).count();
        short.push_str(ALGORITHM);
        short.push_str(&part[..hex.min(SHORT)]);
        short.push_str(&part[hex..]);
    }
    short
}
