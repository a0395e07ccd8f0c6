//! A proxy that makes chosen calls between a client and containerd fail.
//!
//! It listens on its own socket, forwards calls of any kind as streams with their trailers, and
//! records them. A [`Fault`] names a call by method and count, a [`Moment`] before or after
//! containerd carries the call out, and an [`Act`]: delay, refuse, reset, hang, cut the connection,
//! or run a [`Hook`], which may kill a process.
//!
//! An [`Outage`] is permanent: every request of a method, in a namespace, about one object fails.
//!
//! # Why by method and count
//!
//! A client makes calls concurrently, so the thirtieth call differs between runs. The calls of each
//! method and their number do not.
//!
//! # What it never does
//!
//! It changes no request and no response, and makes no calls of its own. Without a fault, a client
//! sees what it would see without the proxy, a little later.

mod act;
mod answer;
mod connection;
mod outage;
mod plan;
mod proxy;

pub use self::act::{Act, Hook, Moment, Then, kill_process};
pub use self::outage::{Outage, Request};
pub use self::plan::{Call, Fault};
pub use self::proxy::FaultProxy;
