#![doc = include_str!("../README.md")]
//!
//! # Types
//!
//! containerd's own types stay inside this crate: its functions take and return those of
//! [`reclaim_model`].

mod calls;
mod client;
mod clock;
mod content_files;
mod convert;
mod cri;
mod deadline;
mod directories;
mod disk_tasks;
mod error;
mod event_watcher;
mod events;
mod execute;
mod files;
mod filesystem;
mod hold;
mod ingest;
mod labels;
mod long_answer;
mod measure;
mod nerdctl;
mod observe;
mod off_thread;
mod outline;
#[cfg(test)]
mod scripted;

pub use calls::{CallObserver, EndedCall};
pub use client::Containerd;
pub use clock::{Clock, now};
pub use content_files::ContentFiles;
#[doc(hidden)]
pub use deadline::set_deadline_for_test;
pub use directories::{Directories, Extents};
pub use error::{CallError, Class, ConnectError, StoreError};
pub use event_watcher::EventWatcher;
pub use events::Events;
pub use execute::{Deletion, LeaseDeletion};
pub use files::{Disk, Filesystems, Unmeasured};
pub use filesystem::Roots;
pub use hold::HeldBlob;
pub use ingest::{Begun, Ingest, IngestTarget};
pub use labels::{LabelAddition, LabelRemoval};
pub use observe::NO_LABELS;
pub use off_thread::{blocking, discard, for_each_yielding};
pub use outline::{IndexEntry, manifest_children};
