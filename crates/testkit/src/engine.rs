//! Containers in the shapes in which engines leave them behind.
//!
//! To containerd a container is a record, a snapshot and perhaps a lease, and each engine
//! combines them in its own way. These helpers make the records and run nothing. Each takes
//! the top snapshot of the image's first unpacked manifest, so the image must be unpacked.

mod cri;
mod docker;
mod nerdctl;
