//! Runs tasks that read this machine's files, on filesystems that may hang.
//!
//! A call into a filesystem whose server is away (NFS, FUSE) does not return and cannot be
//! cancelled. So each task has a deadline, and while one hangs no other of its kind is started:
//! each would occupy a thread for good.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::off_thread::blocking;

/// How long a single read may take: as long as a single read of containerd.
pub(crate) const SHORT: Duration = Duration::from_secs(10);

/// How long listing many files may take. A slow disk with a million of them takes a minute.
pub(crate) const LIST: Duration = Duration::from_secs(2 * 60);

/// How long measuring trees of files may take.
pub(crate) const WALK: Duration = Duration::from_secs(10 * 60);

/// Runs disk tasks, one at a time per kind.
#[derive(Debug, Clone, Default)]
pub(crate) struct DiskTasks {
    slots: Arc<Mutex<BTreeMap<String, Arc<Slot>>>>,
}

/// The slot for the tasks of one kind.
#[derive(Debug)]
struct Slot {
    free: Arc<Semaphore>,
    /// Whether the last task timed out. It counts only while that task is still running.
    hangs: AtomicBool,
}

/// A filesystem did not answer in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hung(Duration);

impl fmt::Display for Hung {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(deadline) = self;
        write!(
            formatter,
            "the filesystem does not answer within {} s",
            deadline.as_secs()
        )
    }
}

impl From<Hung> for io::Error {
    fn from(hung: Hung) -> Self {
        Self::new(io::ErrorKind::TimedOut, hung.to_string())
    }
}

impl DiskTasks {
    /// Runs a task off the async threads, one at a time per `kind`.
    ///
    /// # Errors
    ///
    /// If this task, or the one before it, takes longer than `deadline`.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        kind: &str,
        deadline: Duration,
        task: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Hung> {
        let slot = self.slot(kind);
        let is_free = slot.free.available_permits() > 0;
        if !is_free && slot.hangs.load(Ordering::Relaxed) {
            return Err(Hung(deadline));
        }
        let running = async {
            // The semaphore is never closed.
            let permit = Arc::clone(&slot.free).acquire_owned().await;
            slot.hangs.store(false, Ordering::Relaxed);
            blocking(move || {
                let result = task();
                drop(permit);
                result
            })
            .await
        };
        timeout(deadline, running).await.map_err(|_| {
            slot.hangs.store(true, Ordering::Relaxed);
            Hung(deadline)
        })
    }

    fn slot(&self, kind: &str) -> Arc<Slot> {
        // A panic cannot leave the map half changed.
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = slots.entry(kind.to_owned()).or_insert_with(|| {
            Arc::new(Slot {
                free: Arc::new(Semaphore::new(1)),
                hangs: AtomicBool::new(false),
            })
        });
        Arc::clone(slot)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tokio::time::Instant;

    use super::*;

    /// Returns a task that hangs until the sender is dropped.
    fn hanging() -> (mpsc::Sender<()>, impl FnOnce() -> bool + Send + 'static) {
        let (release, waits) = mpsc::channel();
        (release, move || waits.recv().is_err())
    }

    #[tokio::test]
    async fn a_filesystem_that_hangs_takes_one_thread_and_one_wait() {
        const BRIEFLY: Duration = Duration::from_millis(50);
        let disk_tasks = DiskTasks::default();
        let (release, hangs) = hanging();
        let hung = disk_tasks.run("nfs", BRIEFLY, hangs).await.unwrap_err();
        assert_eq!(
            hung.to_string(),
            "the filesystem does not answer within 0 s"
        );
        // Further tasks of the kind fail at once and occupy no other thread.
        let began = Instant::now();
        let never = || -> () { unreachable!("a task of this kind hangs") };
        for _ in 0..100 {
            assert_eq!(disk_tasks.run("nfs", SHORT, never).await, Err(Hung(SHORT)));
        }
        assert!(began.elapsed() < SHORT, "{:?}", began.elapsed());
        // Tasks of other kinds still run.
        assert_eq!(disk_tasks.run("ext4", SHORT, || 7).await, Ok(7));
        drop(release);
        while disk_tasks.slot("nfs").free.available_permits() == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(disk_tasks.run("nfs", SHORT, || 7).await, Ok(7));
    }

    #[tokio::test]
    async fn tasks_of_one_kind_wait_for_each_other() {
        let disk_tasks = DiskTasks::default();
        let (release, slow) = hanging();
        let first = disk_tasks.run("disk", SHORT, slow);
        let second = disk_tasks.run("disk", SHORT, || 7);
        let releasing = async { drop(release) };
        let (first, second, ()) = tokio::join!(first, second, releasing);
        assert_eq!((first, second), (Ok(true), Ok(7)));
    }

    /// The process ends like this; see `main` of the command.
    #[test]
    fn a_filesystem_that_hangs_does_not_delay_the_shutdown_of_the_runtime() {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().unwrap();
        let (_release, hangs) = hanging();
        let result = runtime.block_on(async {
            let deadline = Duration::from_millis(1);
            DiskTasks::default().run("nfs", deadline, hangs).await
        });
        assert!(result.is_err());
        let (ended, end) = mpsc::channel();
        std::thread::spawn(move || {
            runtime.shutdown_timeout(Duration::from_millis(1));
            ended.send(())
        });
        assert_eq!(end.recv_timeout(SHORT), Ok(()));
    }
}
