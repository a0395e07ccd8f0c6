//! What can be done to a call, and when.

use std::time::Duration;

use tonic::Code;

use super::hook::Hook;

/// When a fault strikes, as seen from containerd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// The call has not reached containerd.
    Before,
    /// containerd has carried the call out and the whole answer is at the proxy. A stream that
    /// does not end by itself never gets there.
    After,
}

/// What is done to a call.
#[derive(Debug, Clone)]
pub enum Act {
    /// Goes on only after that time.
    Delay(Duration),
    /// Answers with that code, in place of containerd or of its answer.
    Refuse(Code),
    /// Resets the stream of the call; others on the connection go on.
    Reset,
    /// Never answers.
    Hang,
    /// Answers neither this call nor any that comes later or is on its way.
    Silence,
    /// Closes the connection, and with it all calls that are on their way.
    Cut,
    /// Runs something, and goes on or cuts the connection as that says.
    Run(Hook),
}
