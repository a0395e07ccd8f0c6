//! Containers as engines represent them in containerd.
//!
//! To containerd a container is a record, a snapshot and perhaps a lease; each engine combines them
//! differently. These helpers create the records and run nothing. Each uses the top snapshot of the
//! image's first unpacked manifest, so the image must be unpacked.

mod cri;
mod docker;
mod nerdctl;
