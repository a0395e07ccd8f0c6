//! The event stream of all namespaces: changes of containers, tasks, images and snapshots.
//!
//! containerd does not report when a subscription takes effect: it answers the call with the first
//! event. So the subscriber publishes events of its own until it receives one; from then on it
//! misses nothing until the stream breaks. For what happened earlier, list after that.

use std::time::Duration;

use containerd_client::events::{
    ContainerCreate, ContainerDelete, ContainerUpdate, SnapshotPrepare, TaskCreate, TaskDelete,
    TaskExit, TaskStart,
};
use containerd_client::services::v1::events_client::EventsClient;
use containerd_client::services::v1::{
    ImageCreate, ImageDelete, ImageUpdate, PublishRequest, SubscribeRequest,
};
use containerd_client::types::Envelope;
use jiff::Timestamp;
use prost::Message;
use prost_types::Any;
use reclaim_model::{Namespace, UseEvent, UseEventKind};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tonic::Status;

use crate::client::Containerd;
use crate::convert;
use crate::error::StoreError;

const SUBSCRIBE: &str = "subscribe to events";
const PUBLISH: &str = "publish event";

/// The filters of the subscription.
const FILTERS: [&str; 5] = [
    r#"topic~="^/containers/""#,
    r#"topic~="^/images/""#,
    r#"topic~="^/tasks/(create|start|exit|delete)$""#,
    r#"topic~="^/snapshot/(prepare|commit|remove)$""#,
    r#"topic~="^/reclaim/""#,
];

/// The topic of the events by which a subscriber finds out that it receives events.
const LISTENING: &str = "/reclaim/listening";
/// The topic that announces that an undo restores a record, so that this does not count as a pull.
const RESTORING: &str = "/reclaim/restoring";
/// The namespace in which a subscriber publishes. Nothing is stored in it.
const OWN_NAMESPACE: &str = "reclaim";

/// How many received events are buffered; further ones wait in containerd.
const BUFFERED: usize = 1024;

/// The pause before a subscriber that has received none of its own events publishes another.
const PROBE_INTERVAL: Duration = Duration::from_millis(50);

/// How long a subscriber waits for one of its own events. A server without a stream sends none.
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(10);

/// The events of all namespaces, from the creation of this value until the stream breaks.
#[derive(Debug)]
pub struct Events {
    received: mpsc::Receiver<Result<Envelope, Status>>,
    task: JoinHandle<()>,
}

impl Drop for Events {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Events {
    /// Returns the next event.
    ///
    /// Cancellation safe: an event that is not returned is returned by the next call.
    ///
    /// # Errors
    ///
    /// If the stream broke or ended. No more events follow, and later ones are missed.
    pub async fn next(&mut self) -> Result<UseEvent, StoreError> {
        loop {
            let envelope = self.next_envelope().await?;
            if let Some(event) = read(envelope) {
                return Ok(event);
            }
        }
    }

    async fn next_envelope(&mut self) -> Result<Envelope, StoreError> {
        self.received
            .recv()
            .await
            .unwrap_or_else(|| Err(Status::unavailable("the stream has ended")))
            .map_err(|status| StoreError::new(SUBSCRIBE, status))
    }
}

impl Containerd {
    /// Subscribes to the events of all namespaces. Returns once events certainly arrive.
    ///
    /// # Errors
    ///
    /// If the server cannot be reached or does not offer the stream.
    pub async fn events(&self) -> Result<Events, StoreError> {
        let message = SubscribeRequest {
            filters: FILTERS.map(str::to_owned).into(),
        };
        let request = self.request(SUBSCRIBE, None, message)?;
        let mut client = EventsClient::new(self.channel());
        let (sender, received) = mpsc::channel(BUFFERED);
        let task = tokio::spawn(async move {
            let mut stream = match client.subscribe(request).await {
                Ok(answer) => answer.into_inner(),
                Err(status) => return drop(sender.send(Err(status)).await),
            };
            loop {
                let message = match stream.message().await {
                    Ok(Some(envelope)) => Ok(envelope),
                    // The receiver sees the end of the channel.
                    Ok(None) => return,
                    Err(status) => Err(status),
                };
                let is_over = message.is_err();
                if sender.send(message).await.is_err() || is_over {
                    return;
                }
            }
        });
        let mut events = Events { received, task };
        tokio::time::timeout(SUBSCRIBE_TIMEOUT, self.await_own_event(&mut events))
            .await
            .unwrap_or_else(|_| {
                let status = Status::unavailable("the server does not send events");
                Err(StoreError::new(SUBSCRIBE, status))
            })?;
        Ok(events)
    }

    /// Publishes events until one of them arrives. Events that arrive earlier are dropped: others
    /// may have been missed by then.
    async fn await_own_event(&self, events: &mut Events) -> Result<(), StoreError> {
        let namespace: Namespace = OWN_NAMESPACE
            .parse()
            .map_err(|_| StoreError::incomplete(PUBLISH, "namespace"))?;
        loop {
            self.publish(&namespace, LISTENING, "").await?;
            let receiving = tokio::time::timeout(PROBE_INTERVAL, async {
                while events.next_envelope().await?.topic != LISTENING {}
                Ok(())
            });
            if let Ok(received) = receiving.await {
                return received;
            }
        }
    }

    /// Publishes an event that a record is about to be restored.
    ///
    /// # Errors
    ///
    /// If the call fails. Subscribers then take the restored record for a pulled one.
    pub async fn announce_restore(
        &self,
        namespace: &Namespace,
        image: &str,
    ) -> Result<(), StoreError> {
        self.publish(namespace, RESTORING, image).await
    }

    /// Publishes an event that names an image, in a form that other subscribers can read.
    async fn publish(
        &self,
        namespace: &Namespace,
        topic: &str,
        image: &str,
    ) -> Result<(), StoreError> {
        let update = ImageUpdate {
            name: image.to_owned(),
            ..ImageUpdate::default()
        };
        let message = PublishRequest {
            topic: topic.to_owned(),
            event: Some(containerd_client::to_any(&update)),
        };
        let request = self.request(PUBLISH, Some(namespace), message)?;
        EventsClient::new(self.channel())
            .publish(request)
            .await
            .map(drop)
            .map_err(|status| StoreError::new(PUBLISH, status).within(namespace))
    }
}

/// Decodes an event; `None` for one of a subscriber's own or of an invalid namespace.
fn read(envelope: Envelope) -> Option<UseEvent> {
    let namespace = envelope.namespace.parse().ok()?;
    let event = envelope.event.unwrap_or_default();
    if envelope.topic == LISTENING {
        return None;
    }
    // An event without a time is unclear, too: only a listing shows when its subject was used.
    let at = convert::timestamp(envelope.timestamp);
    let kind = at
        .and_then(|_| kind_of(&envelope.topic, &event))
        .unwrap_or(UseEventKind::Unclear);
    Some(UseEvent {
        namespace,
        at: at.unwrap_or(Timestamp::UNIX_EPOCH),
        kind,
    })
}

/// Decodes the subject of an event; `None` for an unknown topic or a malformed event.
fn kind_of(topic: &str, event: &Any) -> Option<UseEventKind> {
    Some(match topic {
        "/containers/create" => {
            let ContainerCreate { id, image, .. } = decode(event)?;
            UseEventKind::ContainerWritten { id, image }
        }
        "/containers/update" => {
            let ContainerUpdate { id, image, .. } = decode(event)?;
            UseEventKind::ContainerWritten { id, image }
        }
        "/containers/delete" => {
            let ContainerDelete { id } = decode(event)?;
            UseEventKind::ContainerDeleted { id }
        }
        "/tasks/create" => task(decode::<TaskCreate>(event)?.container_id),
        "/tasks/start" => task(decode::<TaskStart>(event)?.container_id),
        "/tasks/exit" => task(decode::<TaskExit>(event)?.container_id),
        "/tasks/delete" => task(decode::<TaskDelete>(event)?.container_id),
        "/images/create" => written(decode::<ImageCreate>(event)?.name),
        "/images/update" => written(decode::<ImageUpdate>(event)?.name),
        "/images/delete" => {
            let ImageDelete { name } = decode(event)?;
            UseEventKind::ImageDeleted { name }
        }
        RESTORING => {
            let ImageUpdate { name, .. } = decode(event)?;
            UseEventKind::ImageRestoring { name }
        }
        "/snapshot/prepare" => {
            let SnapshotPrepare { parent, .. } = decode(event)?;
            let parent = (!parent.is_empty()).then_some(parent);
            UseEventKind::SnapshotPrepared { parent }
        }
        "/snapshot/commit" | "/snapshot/remove" => UseEventKind::SnapshotChanged,
        _ => return None,
    })
}

fn task(container: String) -> UseEventKind {
    UseEventKind::Task { container }
}

fn written(name: String) -> UseEventKind {
    UseEventKind::ImageWritten { name, record: None }
}

/// Decodes a message whose type follows from the topic; the name of the type has several spellings.
fn decode<M: Message + Default>(event: &Any) -> Option<M> {
    M::decode(event.value.as_slice()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(topic: &str, value: Vec<u8>) -> Envelope {
        Envelope {
            timestamp: Some(prost_types::Timestamp {
                seconds: 1_770_000_000,
                nanos: 5,
            }),
            namespace: "default".to_owned(),
            topic: topic.to_owned(),
            event: Some(Any {
                type_url: "containerd.events.Any".to_owned(),
                value,
            }),
        }
    }

    fn what(topic: &str, message: &impl Message) -> UseEventKind {
        read(envelope(topic, message.encode_to_vec())).unwrap().kind
    }

    #[test]
    fn reads_namespace_time_and_subject() {
        let created = ContainerCreate {
            id: "web".to_owned(),
            image: "app:1".to_owned(),
            runtime: None,
        };
        let event = read(envelope("/containers/create", created.encode_to_vec())).unwrap();
        assert_eq!(event.namespace.as_str(), "default");
        assert_eq!(event.at.as_second(), 1_770_000_000);
        let (id, image) = ("web".to_owned(), "app:1".to_owned());
        assert_eq!(event.kind, UseEventKind::ContainerWritten { id, image });
    }

    #[test]
    fn reads_the_container_of_a_task_and_not_its_process() {
        let exit = TaskExit {
            container_id: "web".to_owned(),
            id: "exec".to_owned(),
            ..TaskExit::default()
        };
        let container = "web".to_owned();
        assert_eq!(what("/tasks/exit", &exit), UseEventKind::Task { container });
    }

    #[test]
    fn a_base_snapshot_has_no_parent() {
        let mut prepared = SnapshotPrepare::default();
        let parent = |parent| UseEventKind::SnapshotPrepared { parent };
        assert_eq!(what("/snapshot/prepare", &prepared), parent(None));
        prepared.parent = "below".to_owned();
        let below = Some("below".to_owned());
        assert_eq!(what("/snapshot/prepare", &prepared), parent(below));
    }

    #[test]
    fn a_malformed_event_is_unclear_and_an_own_event_is_skipped() {
        let broken = read(envelope("/images/create", vec![0xff, 0xff])).unwrap();
        assert_eq!(broken.kind, UseEventKind::Unclear);
        assert_eq!(read(envelope(LISTENING, Vec::new())), None);
    }
}
