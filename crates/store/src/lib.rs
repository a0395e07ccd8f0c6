//! The client of containerd: observe it, change it, measure it.
//!
//! The only crate that sees containerd's API. What comes out are our nouns
//! ([`reclaim_model`]); what goes in are single, checked changes. It decides nothing.

mod alarm;
mod client;
mod clock;
mod convert;
mod cri;
mod deadline;
mod directories;
mod disk;
mod error;
mod events;
mod execute;
mod filesystem;
mod hold;
mod long_answer;
mod look;
mod measure;
mod observe;
mod off_thread;
mod pin;
#[cfg(test)]
mod scripted;
mod unpin;

pub use alarm::Alarm;
pub use client::Containerd;
pub use clock::{Clock, now};
#[doc(hidden)]
pub use deadline::set_deadline_for_test;
pub use directories::{Directories, Extents};
pub use disk::ContentFiles;
pub use error::{CallError, Class, ConnectError, StoreError};
pub use events::Events;
pub use execute::{Deletion, LeaseDeletion};
pub use filesystem::{Disk, Filesystems, Roots};
pub use hold::HeldBlob;
pub use observe::NO_LABELS;
pub use off_thread::{blocking, discard, in_turns};
pub use unpin::Unpinned;
