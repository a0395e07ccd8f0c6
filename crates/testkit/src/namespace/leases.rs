//! The leases of a namespace, and the collection that deleting one can cause.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};

use containerd_client::services::v1::leases_client::LeasesClient;
use containerd_client::services::v1::{
    AddResourceRequest, CreateRequest, DeleteRequest, ListRequest, ListResourcesRequest, Resource,
};
use jiff::Timestamp;
use reclaim_model::Digest;
use tonic::Status;
use tonic::transport::Channel;

use super::{Deletion, MESSAGE_LIMIT, NamespaceClient, wire_labels};
use crate::labels::{GC_EXPIRE, GC_FLAT, Labels};

/// A lease to create.
#[derive(Debug, Clone, Default)]
#[must_use = "the lease is created by `NamespaceClient::create_lease`"]
pub struct NewLease {
    id: String,
    labels: Labels,
}

impl NewLease {
    /// Returns a lease without labels, which never expires.
    pub fn new(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            labels: Labels::new(),
        }
    }

    /// Adds labels.
    pub fn labels(mut self, labels: Labels) -> Self {
        self.labels.extend(labels);
        self
    }

    /// Sets the time at which the lease expires. containerd has no timer for it: the next collection
    /// deletes an expired lease.
    pub fn expires(mut self, expire: Timestamp) -> Self {
        self.labels
            .insert(GC_EXPIRE.to_owned(), format!("{expire:.0}"));
        self
    }

    /// Makes the lease hold only the resources that it lists, not those that their labels refer to.
    pub fn flat(mut self) -> Self {
        self.labels.insert(GC_FLAT.to_owned(), "true".to_owned());
        self
    }
}

/// A resource that a lease holds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeaseResource {
    /// `content`, `ingests`, `snapshots/<snapshotter>`, and from containerd 2.0 on `images`.
    pub kind: String,
    /// The digest, ingest reference, snapshot key or image name.
    pub id: String,
}

impl LeaseResource {
    /// Returns the resource of a blob.
    pub fn content(digest: &Digest) -> Self {
        Self {
            kind: "content".to_owned(),
            id: digest.to_string(),
        }
    }

    /// Returns the resource of a snapshot.
    pub fn snapshot(snapshotter: &str, key: &str) -> Self {
        Self {
            kind: format!("snapshots/{snapshotter}"),
            id: key.to_owned(),
        }
    }

    /// Returns the resource of an image record. containerd before 2.0 returns `Unimplemented`.
    pub fn image(name: &str) -> Self {
        Self {
            kind: "images".to_owned(),
            id: name.to_owned(),
        }
    }
}

impl NamespaceClient {
    fn lease_manager(&self) -> LeasesClient<Channel> {
        LeasesClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_LIMIT)
    }

    /// Creates a lease.
    pub async fn create_lease(&self, lease: NewLease) -> Result<(), Status> {
        let request = self.request(CreateRequest {
            id: lease.id,
            labels: wire_labels(&lease.labels),
        });
        self.lease_manager().create(request).await?;
        Ok(())
    }

    /// Adds a resource to a lease. containerd does not check that it exists.
    pub async fn add_lease_resource(
        &self,
        lease: &str,
        resource: &LeaseResource,
    ) -> Result<(), Status> {
        let request = self.request(AddResourceRequest {
            id: lease.to_owned(),
            resource: Some(Resource {
                id: resource.id.clone(),
                r#type: resource.kind.clone(),
            }),
        });
        self.lease_manager().add_resource(request).await?;
        Ok(())
    }

    /// Deletes a lease, which releases all that it holds.
    pub async fn delete_lease(&self, id: &str, deletion: Deletion) -> Result<(), Status> {
        let request = self.request(DeleteRequest {
            id: id.to_owned(),
            sync: deletion == Deletion::Sync,
        });
        self.lease_manager().delete(request).await?;
        Ok(())
    }

    /// Returns all leases with their labels.
    pub async fn leases(&self) -> Result<BTreeMap<String, Labels>, Status> {
        let request = self.request(ListRequest::default());
        let response = self.lease_manager().list(request).await?.into_inner();
        let leases = response.leases.into_iter();
        Ok(leases
            .map(|lease| (lease.id, lease.labels.into_iter().collect()))
            .collect())
    }

    /// Returns the resources of a lease.
    pub async fn lease_resources(&self, id: &str) -> Result<BTreeSet<LeaseResource>, Status> {
        let request = self.request(ListResourcesRequest { id: id.to_owned() });
        let response = self.lease_manager().list_resources(request).await?;
        let resources = response.into_inner().resources.into_iter();
        Ok(resources
            .map(|resource| LeaseResource {
                kind: resource.r#type,
                id: resource.id,
            })
            .collect())
    }

    /// Runs a collection of all namespaces by creating a lease and deleting it synchronously: there is
    /// no call for it.
    pub async fn collect(&self) -> Result<(), Status> {
        let lease = unique_lease_id("collect");
        self.create_lease(NewLease::new(&lease)).await?;
        self.delete_lease(&lease, Deletion::Sync).await
    }
}

/// Returns a lease ID that no other call in this process returns.
pub(crate) fn unique_lease_id(purpose: &str) -> String {
    static LEASES: AtomicU64 = AtomicU64::new(0);
    let number = LEASES.fetch_add(1, Ordering::Relaxed);
    format!("testkit-{purpose}-{}-{number}", std::process::id())
}
