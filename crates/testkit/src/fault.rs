//! A proxy that spoils chosen calls between a client and containerd.
//!
//! It listens on a socket of its own, forwards every call of any kind as a stream, trailers
//! and all, and writes down which calls it saw. A [`Fault`] names one of them by method and
//! count, a [`Moment`] before or after containerd has acted on it, and an [`Act`]: hold back,
//! refuse, lose the answer, cut the connection, or run a [`Hook`], which may kill whom it likes.
//!
//! An [`Outage`] is broken for good: every request of a method, in a namespace, about one thing.
//!
//! # Why by method and count
//!
//! A client makes calls side by side, so which one is the thirtieth changes from run to run;
//! which calls it makes, and how often each, does not.
//!
//! # What it never does
//!
//! It changes nothing in a request or in an answer, and invents no call. What a client sees
//! through it without a fault is what it would see without the proxy, a little later.

mod act;
mod answer;
mod connection;
mod hook;
mod outage;
mod plan;
mod proxy;

pub use self::act::{Act, Moment};
pub use self::hook::{Hook, Then, kill_process};
pub use self::outage::{Outage, Request};
pub use self::plan::{Call, Fault};
pub use self::proxy::FaultProxy;
