//! One node's turn among the nodes of a cluster, by coordination Leases.
//!
//! A cluster whose nodes all collect at once has slow disks everywhere at once, and where images
//! were removed too eagerly, pulls everywhere at once. [`Turns`] makes nodes wait for each other:
//! there are as many leases as nodes may work at the same time, and whoever holds one has a
//! [`Turn`].
//!
//! # How a lease is judged
//!
//! As client-go's leader election does. The times in a lease are those of its holder's clock and
//! are for people: nobody compares them with its own. A lease has expired when *we* have seen it
//! unchanged for its whole duration, by a clock that only moves forward. So clocks of nodes may
//! differ by years; that they run equally fast is all that is assumed.
//!
//! The holder writes the lease anew after a sixth of its duration. When it could not for two
//! thirds, counted from before its last write, the turn is lost ([`Turn::lost`]), and it has the
//! last third to stop before anybody else can take it.
//!
//! # What this crate never does
//!
//! It knows nothing of images, and nothing here is needed to be safe: a turn is courtesy among
//! nodes. What must not happen twice on one node is guarded there.

mod clock;
mod config;
mod error;
mod judge;
mod keep;
mod slot;
mod turns;

pub use config::TurnsConfig;
pub use error::{Cause, TurnError};
pub use keep::Turn;
pub use turns::Turns;
