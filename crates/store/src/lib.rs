//! The door to containerd: observe it, change it, measure it.
//!
//! The only crate that sees containerd's API. What comes out are our nouns
//! ([`reclaim_model`]); what goes in are single, checked changes. It decides nothing.

mod client;
mod convert;
mod error;
mod execute;
mod measure;
mod observe;

pub use client::Containerd;
pub use error::{CallError, Class, ConnectError, StoreError};
pub use execute::{DeleteGuard, Deletion};
