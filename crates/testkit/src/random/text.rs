//! A store in words: one line for a thing, with digests cut short, for whoever reads a failure.

use std::fmt;

use super::store::{RandomStore, Thing, What};
use crate::namespace::digest_of;

/// How many characters of a digest tell two of one store apart.
const SHORT: usize = 8;

impl fmt::Display for RandomStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "seed {}, {} things",
            self.seed,
            self.things.len()
        )?;
        self.things
            .iter()
            .try_for_each(|thing| writeln!(formatter, "  {thing}"))
    }
}

impl fmt::Display for Thing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:8} {}", self.namespace, self.what)?;
        for (key, value) in &self.labels {
            write!(formatter, "  {key}={}", shortened(value))?;
        }
        Ok(())
    }
}

impl fmt::Display for What {
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

/// Cuts every SHA-256 digest in a text down to its beginning.
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
