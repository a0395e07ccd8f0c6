//! Builds images in a content store as a pull does, with the labels that the collector follows.
//!
//! Building has two parts. *Rendering* is pure: it computes the bytes of all blobs, their labels and
//! the chain IDs. *Storing* writes blobs, snapshots and the record, under a lease. The same input
//! always gives the same digests: images share what is built from the same input, and two images of
//! the same input are two names of one target.

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
pub use self::manifest::{Manifest, host_platform};
pub(crate) use self::store::Rendered;
