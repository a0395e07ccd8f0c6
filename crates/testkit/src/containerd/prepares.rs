//! When active snapshots were prepared, by containerd's own events.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use containerd_client::events::SnapshotPrepare;
use containerd_client::services::v1::SubscribeRequest;
use containerd_client::services::v1::events_client::EventsClient;
use jiff::Timestamp;
use prost::Message;
use tokio::task::JoinHandle;

use super::Containerd;

/// The time between two looks for an event.
const PAUSE: Duration = Duration::from_millis(2);

/// The times of all snapshots that were prepared since it was created, except perhaps the first few:
/// nothing tells when containerd has subscribed a client.
#[derive(Debug)]
pub struct Prepares {
    times: Arc<Mutex<BTreeMap<String, Timestamp>>>,
    task: JoinHandle<()>,
}

impl Containerd {
    /// Returns the times of snapshots that are prepared from now on, in all namespaces.
    pub fn prepares(&self) -> Prepares {
        let request = SubscribeRequest {
            filters: vec![r#"topic=="/snapshot/prepare""#.to_owned()],
        };
        let mut client = EventsClient::new(self.channel());
        let times = Arc::<Mutex<BTreeMap<String, Timestamp>>>::default();
        let received = Arc::clone(&times);
        let task = tokio::spawn(async move {
            // containerd answers with the first event.
            let Ok(answer) = client.subscribe(request).await else {
                return;
            };
            let mut stream = answer.into_inner();
            while let Ok(Some(envelope)) = stream.message().await {
                let time = envelope.timestamp;
                let time = time.map(|it| Timestamp::new(it.seconds, it.nanos));
                let event = envelope.event.map(|it| SnapshotPrepare::decode(&*it.value));
                if let (Some(Ok(time)), Some(Ok(event))) = (time, event) {
                    let mut times = received.lock().unwrap_or_else(PoisonError::into_inner);
                    times.entry(event.key).or_insert(time);
                }
            }
        });
        Prepares { times, task }
    }
}

impl Prepares {
    /// Returns when the first snapshot with this prefix of its key was prepared, or `None` if no event
    /// tells so within `patience`.
    pub async fn first(&self, prefix: &str, patience: Duration) -> Option<Timestamp> {
        let looking = async {
            loop {
                if let Some(time) = self.known(prefix) {
                    return time;
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        tokio::time::timeout(patience, looking).await.ok()
    }

    fn known(&self, prefix: &str) -> Option<Timestamp> {
        let times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        let after = times.range(prefix.to_owned()..);
        let matching = after.take_while(|(key, _)| key.starts_with(prefix));
        matching.map(|(_, time)| *time).min()
    }
}

impl Drop for Prepares {
    fn drop(&mut self) {
        self.task.abort();
    }
}
