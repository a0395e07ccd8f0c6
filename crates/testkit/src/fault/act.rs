//! What a fault does to a call, and when.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use rustix::process::{Pid, Signal};
use tonic::Code;

/// When a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// Before the call reaches containerd.
    Before,
    /// After containerd has carried the call out and the proxy has the whole response. A stream
    /// that does not end never gets there.
    After,
}

/// What a fault does to a call.
#[derive(Debug, Clone)]
pub enum Act {
    /// Forwards it after that time.
    Delay(Duration),
    /// Responds with that code, instead of containerd.
    Refuse(Code),
    /// Resets the stream of the call; others on the connection continue.
    Reset,
    /// Never responds.
    Hang,
    /// Never responds to this call, to calls under way, or to later calls.
    Silence,
    /// Closes the connection, and with it all calls under way.
    Cut,
    /// Runs a hook, and then continues or cuts the connection.
    Run(Hook),
}

/// What happens to a call after its hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// The call continues.
    Continue,
    /// The connection is closed, because the hook killed the client.
    Cut,
}

/// A function that runs while a call waits.
#[derive(Clone)]
pub struct Hook(Arc<dyn Fn() -> BoxFuture<'static, Then> + Send + Sync>);

impl Hook {
    /// Wraps a function, which runs each time the fault strikes.
    pub fn new<F>(run: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Then> + Send + 'static,
    {
        Self(Arc::new(move || run().boxed()))
    }

    pub(super) async fn run(&self) -> Then {
        (self.0)().await
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Hook")
    }
}

/// Kills a process with SIGKILL, like a crash.
///
/// Precondition: it is a child of this process that has not been waited for, so that its ID cannot
/// be reused.
pub fn kill_process(pid: u32) {
    let pid = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .expect("the ID of a child process");
    // Fails only if the process has already ended.
    rustix::process::kill_process(pid, Signal::KILL).ok();
}
