//! The event stream, read: what happened to containers, tasks, images and snapshots of all
//! namespaces.
//!
//! The stream tells what happens from some moment on, and containerd does not say from which: it
//! answers the call with the first event. So the listener sends events of its own until it hears
//! one; from then on nothing is missed until the stream breaks. Whoever needs the rest looks at
//! the lists after that.

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

/// What is heard, in containerd's words for filters.
const FILTERS: [&str; 5] = [
    r#"topic~="^/containers/""#,
    r#"topic~="^/images/""#,
    r#"topic~="^/tasks/(create|start|exit|delete)$""#,
    r#"topic~="^/snapshot/(prepare|commit|remove)$""#,
    r#"topic~="^/reclaim/""#,
];

/// The topic of the events by which a listener finds out that it hears.
const LISTENING: &str = "/reclaim/listening";
/// The topic by which an undo says that a record comes back without having been pulled.
const RESTORING: &str = "/reclaim/restoring";
/// The namespace in which a listener calls out. Nothing is ever stored in it.
const OWN_NAMESPACE: &str = "reclaim";

/// How many events wait to be taken; more wait in containerd.
const WAITING: usize = 1024;

/// Time between two calls of a listener that has not heard itself yet.
const CALL_AGAIN: Duration = Duration::from_millis(50);

/// How long a listener waits to hear itself. A server without the stream is never heard.
const PATIENCE: Duration = Duration::from_secs(10);

/// What happens in all namespaces, from the moment this was made until the stream breaks.
#[derive(Debug)]
pub struct Events {
    heard: mpsc::Receiver<Result<Envelope, Status>>,
    listener: JoinHandle<()>,
}

impl Drop for Events {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

impl Events {
    /// Returns the next event.
    ///
    /// Cancellation safe: an event that is not returned is returned by the next call.
    ///
    /// # Errors
    ///
    /// If the stream broke or ended. Nothing more comes then, and what happens meanwhile is
    /// missed.
    pub async fn next(&mut self) -> Result<UseEvent, StoreError> {
        loop {
            let envelope = self.next_envelope().await?;
            if let Some(event) = read(envelope) {
                return Ok(event);
            }
        }
    }

    async fn next_envelope(&mut self) -> Result<Envelope, StoreError> {
        let heard = self.heard.recv().await;
        let heard = heard.unwrap_or_else(|| Err(Status::unavailable("the stream has ended")));
        heard.map_err(|status| StoreError::new(SUBSCRIBE, status))
    }
}

impl Containerd {
    /// Begins to listen to all namespaces. Returns once events are heard for certain.
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
        let (sender, heard) = mpsc::channel(WAITING);
        let listener = tokio::spawn(async move {
            let mut stream = match client.subscribe(request).await {
                Ok(answer) => answer.into_inner(),
                Err(status) => return drop(sender.send(Err(status)).await),
            };
            loop {
                let message = match stream.message().await {
                    Ok(Some(envelope)) => Ok(envelope),
                    // The end of the channel says the same.
                    Ok(None) => return,
                    Err(status) => Err(status),
                };
                let is_over = message.is_err();
                if sender.send(message).await.is_err() || is_over {
                    return;
                }
            }
        });
        let mut events = Events { heard, listener };
        let hearing = tokio::time::timeout(PATIENCE, self.hear_oneself(&mut events));
        hearing.await.unwrap_or_else(|_| {
            let status = Status::unavailable("the server does not send events");
            Err(StoreError::new(SUBSCRIBE, status))
        })?;
        Ok(events)
    }

    /// Calls until the listener hears it. What it hears before that is older than the moment from
    /// which all is heard, and is left out.
    async fn hear_oneself(&self, events: &mut Events) -> Result<(), StoreError> {
        let namespace: Namespace = OWN_NAMESPACE
            .parse()
            .map_err(|_| StoreError::incomplete(PUBLISH, "namespace"))?;
        loop {
            self.publish(&namespace, LISTENING, "").await?;
            let heard = tokio::time::timeout(CALL_AGAIN, async {
                while events.next_envelope().await?.topic != LISTENING {}
                Ok(())
            });
            if let Ok(heard) = heard.await {
                return heard;
            }
        }
    }

    /// Tells whoever listens that a record is about to be written again as it was.
    ///
    /// # Errors
    ///
    /// If the server cannot be told. It only counts for how the record's coming back is seen.
    pub async fn tell_restoring(
        &self,
        namespace: &Namespace,
        image: &str,
    ) -> Result<(), StoreError> {
        self.publish(namespace, RESTORING, image).await
    }

    /// Publishes an event that names an image, in a form that other listeners can read.
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
        let answer = EventsClient::new(self.channel()).publish(request).await;
        let answer = answer.map_err(|status| StoreError::new(PUBLISH, status).within(namespace));
        answer.map(drop)
    }
}

/// Reads an event; `None` for one that is nobody's.
fn read(envelope: Envelope) -> Option<UseEvent> {
    let namespace = envelope.namespace.parse().ok()?;
    let event = envelope.event.unwrap_or_default();
    if envelope.topic == LISTENING {
        return None;
    }
    // When an event without a time happened is for a look to say.
    let at = convert::timestamp(envelope.timestamp);
    let kind = at.and_then(|_| kind_of(&envelope.topic, &event));
    let kind = kind.unwrap_or(UseEventKind::Unclear);
    let at = at.unwrap_or(Timestamp::UNIX_EPOCH);
    Some(UseEvent {
        namespace,
        at,
        kind,
    })
}

/// `None` for what cannot be read.
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

/// By the topic, not by the name of the type: that is written in several ways.
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
    fn reads_where_when_and_what() {
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
    fn a_snapshot_on_nothing_has_no_parent() {
        let mut prepared = SnapshotPrepare::default();
        let parent = |parent| UseEventKind::SnapshotPrepared { parent };
        assert_eq!(what("/snapshot/prepare", &prepared), parent(None));
        prepared.parent = "below".to_owned();
        let below = Some("below".to_owned());
        assert_eq!(what("/snapshot/prepare", &prepared), parent(below));
    }

    #[test]
    fn what_cannot_be_read_is_unclear_and_our_own_call_is_nothing() {
        let broken = read(envelope("/images/create", vec![0xff, 0xff])).unwrap();
        assert_eq!(broken.kind, UseEventKind::Unclear);
        assert_eq!(read(envelope(LISTENING, Vec::new())), None);
    }
}
