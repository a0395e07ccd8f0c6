//! A handle on one namespace of a containerd, with typed helpers for its services.
//!
//! Every request carries the namespace, and the lease if the handle has one. Handles are cheap to
//! clone; all clones share one connection.

mod containers;
mod content;
mod images;
mod ingests;
mod leases;
mod sandboxes;
mod snapshots;

use containerd_client::services::v1::namespaces_client::NamespacesClient;
use containerd_client::services::v1::{CreateNamespaceRequest, Namespace};
use prost_types::Timestamp;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Request, Status};

pub use self::containers::{ContainerRecord, NewContainer};
pub use self::content::{BlobInfo, digest_of};
pub use self::images::{Descriptor, ImageRecord};
pub(crate) use self::leases::unique_lease_id;
pub use self::leases::{LeaseResource, NewLease};
pub(crate) use self::snapshots::write_file;
pub use self::snapshots::{SnapshotInfo, SnapshotKind};
use crate::labels::Labels;

/// The largest response that a client decodes. containerd sends at most 16 MiB in one message; the
/// default of tonic is 4 MiB.
const MESSAGE_LIMIT: usize = 32 * 1024 * 1024;

/// Whether a deletion waits for the collection that it causes (`sync` in containerd's API).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    /// Returns after the end of a collection that began after the deletion.
    Sync,
    /// Returns at once. A collection may follow later, or never.
    Async,
}

/// A client of one namespace.
#[derive(Debug, Clone)]
pub struct NamespaceClient {
    channel: Channel,
    name: String,
    namespace_header: MetadataValue<Ascii>,
    lease: Option<(String, MetadataValue<Ascii>)>,
}

impl NamespaceClient {
    /// Returns a handle on the namespace `name` over any channel, such as one through a proxy.
    pub fn new(channel: Channel, name: &str) -> Self {
        Self {
            channel,
            name: name.to_owned(),
            namespace_header: header(name),
            lease: None,
        }
    }

    /// Returns a handle whose requests carry the lease `id`, which then holds all that they create.
    ///
    /// The lease must exist, or containerd returns `NotFound`.
    #[must_use]
    pub fn with_lease(&self, id: &str) -> Self {
        Self {
            lease: Some((id.to_owned(), header(id))),
            ..self.clone()
        }
    }

    /// Returns the name of the namespace.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the lease that requests carry.
    pub fn lease(&self) -> Option<&str> {
        self.lease.as_ref().map(|(id, _)| id.as_str())
    }

    /// Creates the namespace. The first record of a namespace creates it too.
    pub async fn create_namespace(&self, labels: &Labels) -> Result<(), Status> {
        let namespace = Namespace {
            name: self.name.clone(),
            labels: wire_labels(labels),
        };
        // containerd 1.6 needs a namespace in the header even here, to publish the event.
        let request = self.request(CreateNamespaceRequest {
            namespace: Some(namespace),
        });
        let mut client = NamespacesClient::new(self.channel.clone());
        client.create(request).await?;
        Ok(())
    }

    /// Returns `message` with the headers that containerd reads.
    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let headers = request.metadata_mut();
        headers.insert("containerd-namespace", self.namespace_header.clone());
        if let Some((_, lease)) = &self.lease {
            headers.insert("containerd-lease", lease.clone());
        }
        request
    }
}

fn header(value: &str) -> MetadataValue<Ascii> {
    MetadataValue::try_from(value)
        .unwrap_or_else(|_| panic!("`{value}` cannot be sent as a header"))
}

/// Converts labels to the map of the generated code.
fn wire_labels<M: FromIterator<(String, String)>>(labels: &Labels) -> M {
    labels
        .iter()
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// Returns a field that must be present in a response.
fn required<T>(field: Option<T>, name: &str) -> Result<T, Status> {
    field.ok_or_else(|| Status::data_loss(format!("the response lacks `{name}`")))
}

fn wire_time(time: jiff::Timestamp) -> Timestamp {
    Timestamp {
        seconds: time.as_second(),
        nanos: time.subsec_nanosecond(),
    }
}

fn time(wire: Timestamp) -> Result<jiff::Timestamp, Status> {
    jiff::Timestamp::new(wire.seconds, wire.nanos)
        .map_err(|error| Status::data_loss(format!("the response has an invalid time: {error}")))
}
