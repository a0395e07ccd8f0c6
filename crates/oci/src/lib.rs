#![doc = include_str!("../README.md")]
//!
//! # What it decides
//!
//! [`Kind::of`] determines which blobs are read; [`read`] checks size, digest and shape and returns
//! a [`Document`]; [`Document::kind`] is what its bytes show, whatever a descriptor claims;
//! [`Document::children`] are its edges; [`chain_ids`] are the names of the snapshots that a config
//! implies.
//!
//! # Strict and tolerant
//!
//! It is strict where a decision depends on it: digests, the kind, layers, labels. After an error
//! the caller keeps everything that the document could name, unless containerd and Docker cannot
//! read it either ([`ReadError::is_torn`]). It is tolerant in everything else, because images by
//! unusual builders exist and must be removable as well.
//!
//! # Agreement with Go
//!
//! containerd and moby read the same bytes with Go's `encoding/json`, and the collector follows the
//! result. Where Go accepts something that a Rust reader would overlook (keys in another case,
//! `null` for an empty list, broken UTF-8), this crate reads it as Go does; where Go picks one of
//! several meanings, it refuses the document.
//!
//! # Cost
//!
//! Time and memory are linear in the number of bytes, which [`Limits`] bound. The caller walks from
//! document to document: it must visit each digest once and stop at [`Limits::check_depth`].
//!
//! # What oci-spec does, and what it does not
//!
//! The media types are oci-spec's, with their equivalents of Docker's. Its `Descriptor`,
//! `ImageConfiguration` and `Platform` do not read: they refuse configs without architecture, os or
//! rootfs, refuse or reinterpret platforms (`armbe` becomes `arm64be`), accept digests of algorithms
//! that cannot be verified here, and keep annotations in hash maps. The tests write documents with
//! them, and this reader finds all that they contain.

mod chain;
mod config;
mod convert;
mod descriptor;
mod document;
mod error;
mod json;
mod kind;
mod labels;
mod limits;
mod manifest;
mod outline;
mod platform;
mod text;
mod verify;

pub use chain::{chain_ids, top_chain_id};
pub use config::ImageConfig;
pub use descriptor::{ATTESTATION_ANNOTATION, Descriptor};
pub use document::{Document, read};
pub use error::ReadError;
pub use kind::Kind;
pub use labels::LabelKeys;
pub use limits::{Limits, MAX_CONFIG_BYTES, MAX_DEPTH, MAX_LABEL_BYTES, MAX_MANIFEST_BYTES};
pub use manifest::{Index, Manifest};
pub use platform::Platform;
pub use verify::{digest_of, verify};
