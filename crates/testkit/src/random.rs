//! Random stores: a description that follows from a seed, and the builder that makes it real.
//!
//! A [`RandomStore`] is plain data, so that it can be printed, compared and cut down. It has
//! everything that containerd's collector and a pruner look at, and more of what is odd than any
//! host has: names that nobody would give, labels that refer to nothing or in circles, leases
//! that expired, content whose record is long gone. [`RandomStore::generate`] makes one from a
//! seed, [`RandomStore::build`] puts it into a containerd, [`RandomStore::shrink`] finds the part
//! of it that matters, and [`Containerd::empty`](crate::Containerd::empty) takes all away again,
//! so that one daemon serves for hundreds of stores. Seeds with the bit [`CROSSED`] have images
//! whose documents misdescribe those of others; [`RandomStore::hostile_image`] makes one more.
//!
//! # Why not proptest
//!
//! Its strategies shrink by making values again, thousands of times, and a store takes half a
//! second to build; and its stream of numbers changes between versions, so that a seed noted
//! down would mean another store by then. [`Dice`] is thirty lines and never changes.

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
pub use self::store::{RandomStore, Thing, What};
