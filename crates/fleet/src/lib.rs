//! A lock among the nodes of a cluster, by coordination Leases, and Events about a node.
//!
//! If all nodes of a cluster collect at once, all their disks are slow at once; and if images were
//! removed too eagerly, all nodes pull at once. A [`ClusterLock`] limits how many nodes work at the
//! same time. A node that works has a lease of its own, which is deleted afterwards, and a
//! [`ClusterLockGuard`]. To acquire the lock, a node lists the leases; if there are few enough, it
//! creates its own, and lists them again. If there are too many now, it deletes its own and waits: of
//! nodes that do this at once, the last to create its lease sees those of all others.
//!
//! # Why a lease for each node
//!
//! With one lease for each holder, every node would need the right to write every lease, and the
//! credentials of one node could take all of them. An API server can limit a node to its own lease,
//! by the node's name in the credentials.
//!
//! # When a lease expires
//!
//! As in client-go's leader election, the times in a lease are those of its holder's clock. They are
//! informative: no node compares them with its own clock. A lease has expired when *this* node has
//! observed it unchanged for its duration, by a monotonic clock. So the clocks of nodes may differ
//! by any amount; they only need to run at the same speed.
//!
//! The holder renews the lease after a sixth of its duration. If it could not for two thirds,
//! counted from before its last write, the lock is lost ([`ClusterLockGuard::lost`]), and the holder
//! has the last third to stop before another node can take the lease.
//!
//! # What the lock does not guarantee
//!
//! Safety does not depend on this lock: it only spreads the load of a cluster. Other locks, on each
//! node, prevent two runs at once.
//!
//! # Events
//!
//! [`NodeEvents`] shows problems of a node to the operators of its cluster, as the kubelet does with
//! `ImageGCFailed`. Events are informative: nothing depends on them.

mod client;
mod config;
mod error;
mod guard;
mod lease;
mod lock;
mod node_events;
mod observation;

pub use config::ClusterLockConfig;
pub use error::{Cause, ClusterLockError};
pub use guard::ClusterLockGuard;
pub use lock::ClusterLock;
pub use node_events::{NodeEvent, NodeEventError, NodeEvents};
