//! Random stores: generated from a seed as data, and then built in a containerd.
//!
//! A [`RandomStore`] is plain data, so that it can be printed, compared and shrunk. It has
//! everything that containerd's collector and a pruner read, and more oddities than a real host:
//! strange names, labels that refer to nothing or in circles, expired leases, content without a
//! record. [`RandomStore::generate`] generates one from a seed, [`RandomStore::build`] builds it in
//! a containerd, [`RandomStore::shrink`] reduces it to the part that matters, and
//! [`Containerd::empty`](crate::Containerd::empty) removes everything, so that one daemon serves
//! hundreds of stores. Seeds with the bit [`CROSSED`] have images whose documents misdescribe those
//! of other images; [`RandomStore::hostile_image`] generates one more.
//!
//! # Why not proptest
//!
//! It shrinks by generating thousands of values, and a store takes half a second to build. Its
//! random numbers change between versions, and then a recorded seed gives a different store.
//! [`Dice`] is thirty lines and never changes.

mod build;
mod dice;
mod empty;
mod generate;
mod hostile;
mod shrink;
mod store;
mod text;

pub use self::dice::Dice;
pub use self::hostile::CROSSED;
pub use self::store::{ObjectKind, RandomStore, StoreObject};
