//! The event stream as an alarm: has anything begun that could use an image?
//!
//! It only ever makes us look again. An alarm that is late, or a stream that breaks, loses
//! nothing that the lists would not show.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use containerd_client::services::v1::SubscribeRequest;
use containerd_client::services::v1::events_client::EventsClient;
use reclaim_model::Namespace;
use tokio::task::JoinHandle;

use crate::client::Containerd;
use crate::error::StoreError;

/// What is heard: the first traces of a container or a lease's work.
const TOPICS: [&str; 3] = ["/snapshot/prepare", "/containers/create", "/images/create"];

/// Counts events until it is dropped.
#[derive(Debug)]
pub struct Alarm {
    heard: Arc<AtomicU64>,
    listener: JoinHandle<()>,
}

impl Alarm {
    /// Returns how many events were heard so far. A changed number is a reason to look again.
    pub fn heard(&self) -> u64 {
        self.heard.load(Ordering::Acquire)
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

impl Containerd {
    /// Begins to listen to a namespace. A server that does not offer the stream is never heard.
    ///
    /// # Errors
    ///
    /// If the namespace cannot be put into a call.
    pub fn alarm(&self, namespace: &Namespace) -> Result<Alarm, StoreError> {
        const OPERATION: &str = "subscribe to events";
        let filters = TOPICS.map(|topic| format!(r#"namespace=={namespace},topic=="{topic}""#));
        let message = SubscribeRequest {
            filters: filters.into(),
        };
        let request = self.request(OPERATION, Some(namespace), message)?;
        let mut client = EventsClient::new(self.channel());
        let heard = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&heard);
        // The call itself is part of the task: containerd answers it with the first event.
        let listener = tokio::spawn(async move {
            let Ok(answer) = client.subscribe(request).await else {
                return;
            };
            let mut stream = answer.into_inner();
            while let Ok(Some(_)) = stream.message().await {
                counter.fetch_add(1, Ordering::Release);
            }
        });
        Ok(Alarm { heard, listener })
    }
}

#[cfg(test)]
mod tests {
    use containerd_client::types::Envelope;
    use tonic::Code;

    use super::*;
    use crate::scripted::{Answer, namespace, scripted, silent};

    #[tokio::test]
    async fn each_event_is_heard() {
        let events = Answer::stream(&[Envelope::default(), Envelope::default()], Code::Ok);
        let store = scripted("2.0.0", [("Events/Subscribe", events)]);
        let mut alarm = store.alarm(&namespace()).unwrap();
        (&mut alarm.listener).await.unwrap();
        assert_eq!(alarm.heard(), 2);
    }

    /// A daemon makes one with every run: none may go on listening.
    #[tokio::test]
    async fn it_ends_when_it_is_dropped() {
        let alarm = silent("2.0.0").alarm(&namespace()).unwrap();
        let counter = Arc::downgrade(&alarm.heard);
        drop(alarm);
        for _ in 0..1000 {
            if counter.strong_count() == 0 {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("the listener is still there");
    }

    #[tokio::test]
    async fn a_server_without_events_is_never_heard() {
        let script = [("Events/Subscribe", Code::Unimplemented.into())];
        let mut alarm = scripted("2.0.0", script).alarm(&namespace()).unwrap();
        (&mut alarm.listener).await.unwrap();
        assert_eq!(alarm.heard(), 0);
    }
}
