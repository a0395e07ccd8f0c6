//! Events of changes, and their subscribers.

use containerd_client::events::{
    ContainerCreate, ContainerDelete, SnapshotPrepare, SnapshotRemove, TaskExit, TaskStart,
};
use containerd_client::services::v1::{Container, Image, ImageCreate, ImageDelete, ImageUpdate};
use containerd_client::types::Envelope;
use prost::Name;
use prost_types::Any;
use tokio::sync::mpsc;

use crate::filter::Filters;

/// An event without its time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Event {
    pub(crate) namespace: String,
    pub(crate) topic: String,
    pub(crate) message: Option<Any>,
}

impl Event {
    fn new(namespace: &str, topic: &str, event: &impl Name) -> Self {
        Self {
            namespace: namespace.to_owned(),
            topic: topic.to_owned(),
            message: Some(containerd_client::to_any(event)),
        }
    }

    pub(crate) fn image_created(namespace: &str, image: &Image) -> Self {
        let event = ImageCreate {
            name: image.name.clone(),
            labels: image.labels.clone(),
        };
        Self::new(namespace, "/images/create", &event)
    }

    pub(crate) fn image_updated(namespace: &str, image: &Image) -> Self {
        let event = ImageUpdate {
            name: image.name.clone(),
            labels: image.labels.clone(),
        };
        Self::new(namespace, "/images/update", &event)
    }

    pub(crate) fn image_deleted(namespace: &str, name: &str) -> Self {
        let name = name.to_owned();
        Self::new(namespace, "/images/delete", &ImageDelete { name })
    }

    pub(crate) fn container_created(namespace: &str, container: &Container) -> Self {
        let event = ContainerCreate {
            id: container.id.clone(),
            image: container.image.clone(),
            runtime: None,
        };
        Self::new(namespace, "/containers/create", &event)
    }

    pub(crate) fn container_deleted(namespace: &str, id: &str) -> Self {
        let id = id.to_owned();
        Self::new(namespace, "/containers/delete", &ContainerDelete { id })
    }

    pub(crate) fn snapshot_prepared(namespace: &str, key: &str, parent: &str) -> Self {
        let event = SnapshotPrepare {
            key: key.to_owned(),
            parent: parent.to_owned(),
            ..SnapshotPrepare::default()
        };
        Self::new(namespace, "/snapshot/prepare", &event)
    }

    pub(crate) fn snapshot_removed(namespace: &str, key: &str) -> Self {
        let event = SnapshotRemove {
            key: key.to_owned(),
            ..SnapshotRemove::default()
        };
        Self::new(namespace, "/snapshot/remove", &event)
    }

    pub(crate) fn task(namespace: &str, container: &str, is_started: bool) -> Self {
        let container_id = container.to_owned();
        if is_started {
            let event = TaskStart {
                container_id,
                ..TaskStart::default()
            };
            Self::new(namespace, "/tasks/start", &event)
        } else {
            let event = TaskExit {
                container_id,
                ..TaskExit::default()
            };
            Self::new(namespace, "/tasks/exit", &event)
        }
    }
}

/// The subscribers and their filters.
#[derive(Debug, Default)]
pub(crate) struct Subscribers(Vec<(Filters, mpsc::UnboundedSender<Envelope>)>);

impl Subscribers {
    pub(crate) fn add(&mut self, filters: Filters) -> mpsc::UnboundedReceiver<Envelope> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.0.push((filters, sender));
        receiver
    }

    /// Ends all streams.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    pub(crate) fn publish(&mut self, envelope: &Envelope) {
        let field = |field: &str| match field {
            "topic" => Some(envelope.topic.clone()),
            "namespace" => Some(envelope.namespace.clone()),
            _ => None,
        };
        self.0.retain(|(filters, sender)| {
            if filters.match_all(field) {
                sender.send(envelope.clone()).is_ok()
            } else {
                !sender.is_closed()
            }
        });
    }
}
