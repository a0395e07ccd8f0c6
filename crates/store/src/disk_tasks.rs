//! Looking at the files of this machine, on a filesystem that may hang.
//!
//! A call into a filesystem whose server is away (NFS, FUSE) does not return and cannot be ended.
//! So it is waited for only so long, and as long as one hangs no other of its kind is begun: each
//! would take a thread for good.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::off_thread::blocking;

/// How long one question to a filesystem may take: as long as one to containerd.
pub(crate) const SHORT: Duration = Duration::from_secs(10);

/// How long listing many files may take. A slow disk with a million of them takes a minute.
pub(crate) const LIST: Duration = Duration::from_secs(2 * 60);

/// How long measuring trees of files may take.
pub(crate) const WALK: Duration = Duration::from_secs(10 * 60);

/// What is looked at, one at a time per kind.
#[derive(Debug, Clone, Default)]
pub(crate) struct Looks {
    slots: Arc<Mutex<BTreeMap<String, Arc<Slot>>>>,
}

/// One kind of look.
#[derive(Debug)]
struct Slot {
    free: Arc<Semaphore>,
    /// Whether the last look was waited for too long. It counts only as long as that goes on.
    hangs: AtomicBool,
}

/// A filesystem had no answer in time.
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

impl Looks {
    /// Looks at something, off the async threads. `kind` says at what: one look of a kind is made
    /// at a time.
    ///
    /// # Errors
    ///
    /// If that, or the look before it, takes longer than `deadline`.
    pub(crate) async fn look<T: Send + 'static>(
        &self,
        kind: &str,
        deadline: Duration,
        look: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Hung> {
        let slot = self.slot(kind);
        let is_free = slot.free.available_permits() > 0;
        if !is_free && slot.hangs.load(Ordering::Relaxed) {
            return Err(Hung(deadline));
        }
        let looking = async {
            // It is never closed.
            let permit = Arc::clone(&slot.free).acquire_owned().await;
            slot.hangs.store(false, Ordering::Relaxed);
            blocking(move || {
                let seen = look();
                drop(permit);
                seen
            })
            .await
        };
        let seen = timeout(deadline, looking).await;
        seen.map_err(|_| {
            slot.hangs.store(true, Ordering::Relaxed);
            Hung(deadline)
        })
    }

    fn slot(&self, kind: &str) -> Arc<Slot> {
        // Whole after every change.
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

    /// A filesystem that hangs until the other end is dropped.
    fn hanging() -> (mpsc::Sender<()>, impl FnOnce() -> bool + Send + 'static) {
        let (comes_back, waits) = mpsc::channel();
        (comes_back, move || waits.recv().is_err())
    }

    #[tokio::test]
    async fn a_filesystem_that_hangs_takes_one_thread_and_one_wait() {
        const BRIEFLY: Duration = Duration::from_millis(50);
        let looks = Looks::default();
        let (comes_back, hangs) = hanging();
        let hung = looks.look("nfs", BRIEFLY, hangs).await.unwrap_err();
        assert_eq!(
            hung.to_string(),
            "the filesystem does not answer within 0 s"
        );
        // Nobody waits for it again, and no other thread is taken.
        let began = Instant::now();
        let never = || -> () { unreachable!("a look is under way") };
        for _ in 0..100 {
            assert_eq!(looks.look("nfs", SHORT, never).await, Err(Hung(SHORT)));
        }
        assert!(began.elapsed() < SHORT, "{:?}", began.elapsed());
        // Other kinds are still looked at.
        assert_eq!(looks.look("ext4", SHORT, || 7).await, Ok(7));
        drop(comes_back);
        while looks.slot("nfs").free.available_permits() == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(looks.look("nfs", SHORT, || 7).await, Ok(7));
    }

    #[tokio::test]
    async fn looks_of_one_kind_wait_for_each_other() {
        let looks = Looks::default();
        let (goes_on, slow) = hanging();
        let first = looks.look("disk", SHORT, slow);
        let second = looks.look("disk", SHORT, || 7);
        let going_on = async { drop(goes_on) };
        let (first, second, ()) = tokio::join!(first, second, going_on);
        assert_eq!((first, second), (Ok(true), Ok(7)));
    }

    /// As at the end of the process: see `main` of the command.
    #[test]
    fn a_filesystem_that_hangs_does_not_keep_a_runtime_that_shuts_down_in_time() {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().unwrap();
        let (_comes_back, hangs) = hanging();
        let looked = runtime.block_on(async {
            let deadline = Duration::from_millis(1);
            Looks::default().look("nfs", deadline, hangs).await
        });
        assert!(looked.is_err());
        let (ended, end) = mpsc::channel();
        std::thread::spawn(move || {
            runtime.shutdown_timeout(Duration::from_millis(1));
            ended.send(())
        });
        assert_eq!(end.recv_timeout(SHORT), Ok(()));
    }
}
