//! What is run in the middle of a call.

use std::fmt;
use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt};
use rustix::process::{Pid, Signal};

/// What becomes of the call whose hook has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// It goes its way.
    GoOn,
    /// The connection is closed: whoever the hook killed has no use for it any more.
    Cut,
}

/// Something to run while a call is held back.
#[derive(Clone)]
pub struct Hook(Arc<dyn Fn() -> BoxFuture<'static, Then> + Send + Sync>);

impl Hook {
    /// Wraps what is to be run each time the hook is reached.
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

/// Kills a process as a crash would (SIGKILL).
///
/// Precondition: it is a child of this process that nobody has waited for, so that its number
/// cannot be a stranger's.
pub fn kill_process(pid: u32) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pid = pid.expect("the number of a child process");
    // Fails only if it has ended already, which is what is wanted.
    rustix::process::kill_process(pid, Signal::KILL).ok();
}
