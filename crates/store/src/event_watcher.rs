//! Watches for events that may start a use of an image.
//!
//! An event only triggers another listing. A late event or a broken stream loses nothing that the
//! lists would not show.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use containerd_client::services::v1::SubscribeRequest;
use containerd_client::services::v1::events_client::EventsClient;
use reclaim_model::Namespace;
use tokio::task::JoinHandle;

use crate::client::Containerd;
use crate::error::StoreError;

/// The first events of a new container, or of work under a lease.
const TOPICS: [&str; 3] = ["/snapshot/prepare", "/containers/create", "/images/create"];

/// Counts the events of a namespace until it is dropped.
#[derive(Debug)]
pub struct EventWatcher {
    count: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl EventWatcher {
    /// Returns how many events were received so far. A changed number is a reason to list again.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }
}

impl Drop for EventWatcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Containerd {
    /// Starts to watch the events of a namespace. On a server without an event stream the count
    /// stays 0.
    ///
    /// # Errors
    ///
    /// If the namespace is not a valid gRPC header.
    pub fn watch_events(&self, namespace: &Namespace) -> Result<EventWatcher, StoreError> {
        const OPERATION: &str = "subscribe to events";
        let filters = TOPICS.map(|topic| format!(r#"namespace=={namespace},topic=="{topic}""#));
        let message = SubscribeRequest {
            filters: filters.into(),
        };
        let request = self.request(OPERATION, Some(namespace), message)?;
        let mut client = EventsClient::new(self.channel());
        let count = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&count);
        // The call itself is part of the task: containerd answers it with the first event.
        let task = tokio::spawn(async move {
            let Ok(answer) = client.subscribe(request).await else {
                return;
            };
            let mut stream = answer.into_inner();
            while let Ok(Some(_)) = stream.message().await {
                counter.fetch_add(1, Ordering::Release);
            }
        });
        Ok(EventWatcher { count, task })
    }
}

#[cfg(test)]
mod tests {
    use containerd_client::types::Envelope;
    use tonic::Code;

    use super::*;
    use crate::scripted::{Answer, namespace, scripted, silent};

    #[tokio::test]
    async fn each_event_counts() {
        let events = Answer::stream(&[Envelope::default(), Envelope::default()], Code::Ok);
        let store = scripted("2.0.0", [("Events/Subscribe", events)]);
        let mut watcher = store.watch_events(&namespace()).unwrap();
        (&mut watcher.task).await.unwrap();
        assert_eq!(watcher.count(), 2);
    }

    /// A daemon starts one with every run, so each must stop its task.
    #[tokio::test]
    async fn dropping_the_watcher_ends_its_task() {
        let watcher = silent("2.0.0").watch_events(&namespace()).unwrap();
        let counter = Arc::downgrade(&watcher.count);
        drop(watcher);
        for _ in 0..1000 {
            if counter.strong_count() == 0 {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("the task is still running");
    }

    #[tokio::test]
    async fn a_server_without_events_counts_none() {
        let script = [("Events/Subscribe", Code::Unimplemented.into())];
        let mut watcher = scripted("2.0.0", script)
            .watch_events(&namespace())
            .unwrap();
        (&mut watcher.task).await.unwrap();
        assert_eq!(watcher.count(), 0);
    }
}
