//! Lends large values to work off the async threads without copying them: the inventory of 100,000
//! images has hundreds of megabytes.

use std::ops::Deref;
use std::sync::Arc;

pub use reclaim_store::blocking;
pub(crate) use reclaim_store::{discard, for_each_yielding};

/// A large value that is only read, by one piece of work at a time. It is dropped off the async
/// threads, too.
#[derive(Debug)]
pub struct Shared<T: Send + Sync + 'static>(Option<Arc<T>>);

impl<T: Send + Sync + 'static> Shared<T> {
    /// Shares a value.
    pub fn new(value: T) -> Self {
        Self(Some(Arc::new(value)))
    }

    /// Reads it on a blocking thread.
    pub async fn read<R: Send + 'static>(&self, work: impl FnOnce(&T) -> R + Send + 'static) -> R {
        let shared = Arc::clone(self.shared());
        blocking(move || work(&shared)).await
    }

    /// Takes it back.
    ///
    /// # Panics
    ///
    /// If a [`Self::read`] was dropped, because its work may still run.
    pub fn into_inner(mut self) -> T {
        let inner = self.0.take().and_then(Arc::into_inner);
        inner.expect("all work on it has been waited for")
    }

    fn shared(&self) -> &Arc<T> {
        self.0.as_ref().expect("only into_inner and drop take it")
    }
}

impl<T: Send + Sync + 'static> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.shared()
    }
}

impl<T: Send + Sync + 'static> Drop for Shared<T> {
    fn drop(&mut self) {
        if let Some(shared) = self.0.take() {
            discard(shared);
        }
    }
}

/// Lends a large value to work on a blocking thread. During the work, and after it if it is dropped or
/// panics, the default value is in its place.
pub(crate) async fn lend<T, R>(value: &mut T, work: impl FnOnce(&mut T) -> R + Send + 'static) -> R
where
    T: Default + Send + 'static,
    R: Send + 'static,
{
    let mut lent = std::mem::take(value);
    let (lent, done) = blocking(move || {
        let done = work(&mut lent);
        (lent, done)
    })
    .await;
    *value = lent;
    done
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread::{self, ThreadId};

    use super::*;

    /// Reports on which thread it is dropped.
    #[derive(Debug)]
    struct Large(mpsc::Sender<ThreadId>);

    impl Drop for Large {
        fn drop(&mut self) {
            self.0.send(thread::current().id()).unwrap_or_default();
        }
    }

    #[tokio::test]
    async fn a_shared_value_is_read_and_dropped_on_another_thread() {
        let here = thread::current().id();
        let (dropped, on) = mpsc::channel();
        let shared = Shared::new(Large(dropped));
        let reading = shared.read(|_| thread::current().id());
        assert_ne!(reading.await, here);
        drop(shared.into_inner());
        assert_eq!(on.recv(), Ok(here));

        let (dropped, on) = mpsc::channel();
        drop(Shared::new(Large(dropped)));
        assert_ne!(on.recv().unwrap(), here);
    }

    #[tokio::test]
    async fn a_lent_value_returns_changed() {
        let mut list = vec![1];
        let done = lend(&mut list, |list| {
            list.push(2);
            list.len()
        });
        assert_eq!(done.await, 2);
        assert_eq!(list, [1, 2]);
    }
}
