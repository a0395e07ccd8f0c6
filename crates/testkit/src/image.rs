//! Builds images in a content store as pullers do, with the labels that the collector follows.
//!
//! Building has two halves. *Rendering* is pure: it makes the bytes of all blobs, their labels
//! and the chain IDs. *Storing* writes blobs, snapshots and the record, under a lease. The same
//! input always gives the same digests, so two images share what they are built from alike,
//! and two images built entirely alike are two names of one target.

mod blob;
mod builder;
mod built;
mod index;
mod layer;
mod manifest;
mod store;

pub use self::blob::Format;
pub(crate) use self::blob::{Blob, descriptor_json};
pub use self::builder::{ImageBuilder, image};
pub use self::built::{BuiltImage, BuiltManifest};
pub use self::index::{IndexBuilder, index};
pub use self::layer::Layer;
pub use self::manifest::Manifest;
pub(crate) use self::manifest::host_platform;
pub(crate) use self::store::Rendered;
