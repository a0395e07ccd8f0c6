//! Lists the leases of a cluster lock, and reads and writes that of this node. Every update has the
//! version that was read, so that of two concurrent writes one fails.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{DeleteParams, ListParams, ObjectMeta, PostParams, Preconditions};

use crate::error::ClusterLockError;

/// This node as the holder of a lease.
#[derive(Debug, Clone)]
pub(crate) struct Holder {
    pub(crate) node: String,
    pub(crate) seconds: i32,
}

/// The label of the leases of a cluster lock. Its value is the name of the lock.
const LABEL: &str = "reclaim/cluster-lock";

/// A client for the leases of a cluster lock, which writes one of them.
#[derive(Clone)]
pub(crate) struct LeaseClient {
    pub(crate) leases: Api<Lease>,
    pub(crate) namespace: String,
    /// The name of the lock.
    pub(crate) lock: String,
    /// The name of the lease of this node.
    pub(crate) name: String,
    pub(crate) holder: Holder,
    /// How long to wait for an answer.
    pub(crate) timeout: Duration,
}

/// The result of a write.
#[derive(Debug)]
pub(crate) enum WriteResult {
    /// The lease was written; this is the answer.
    Done(Box<Lease>),
    /// Another write came first.
    Conflict,
}

impl LeaseClient {
    /// Lists the leases of the lock.
    pub(crate) async fn list(&self) -> Result<Vec<Lease>, ClusterLockError> {
        let parameters = ListParams::default().labels(&format!("{LABEL}={}", self.lock));
        let listing = self.leases.list(&parameters);
        Ok(self.call("list leases", listing).await?.items)
    }

    /// Reads the lease of this node; `None` if it does not exist.
    pub(crate) async fn read(&self) -> Result<Option<Lease>, ClusterLockError> {
        self.call("get lease", self.leases.get_opt(&self.name))
            .await
    }

    /// Creates the lease of this node, or takes over that of an earlier process.
    pub(crate) async fn claim(&self) -> Result<WriteResult, ClusterLockError> {
        let mut lease = Lease {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                labels: Some(self.labels().into()),
                ..ObjectMeta::default()
            },
            spec: None,
        };
        self.set_holder(&mut lease);
        let parameters = PostParams::default();
        let creating = self.leases.create(&parameters, &lease);
        if let WriteResult::Done(lease) = self.write("create lease", creating).await? {
            return Ok(WriteResult::Done(lease));
        }
        match self.read().await? {
            Some(mut lease) => {
                let labels = lease.metadata.labels.get_or_insert_default();
                labels.extend(self.labels());
                self.set_holder(&mut lease);
                self.replace(&lease).await
            }
            None => Ok(WriteResult::Conflict),
        }
    }

    /// Renews a lease that this node holds.
    pub(crate) async fn renew(&self, mut lease: Lease) -> Result<WriteResult, ClusterLockError> {
        let spec = lease.spec.get_or_insert_default();
        spec.renew_time = Some(now());
        spec.lease_duration_seconds = Some(self.holder.seconds);
        self.replace(&lease).await
    }

    /// Deletes a lease that this node holds, unless a later one of the same name replaced it.
    pub(crate) async fn release(&self, lease: Lease) -> Result<(), ClusterLockError> {
        let parameters = DeleteParams {
            preconditions: Some(Preconditions {
                uid: lease.metadata.uid,
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        let deleting = async {
            match self.leases.delete(&self.name, &parameters).await {
                Ok(_) => Ok(()),
                Err(kube::Error::Api(status)) if [404, 409].contains(&status.code) => Ok(()),
                Err(error) => Err(error),
            }
        };
        self.call("delete lease", deleting).await
    }

    /// Returns the namespace and name of the lease.
    pub(crate) fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    fn labels(&self) -> [(String, String); 2] {
        [("app.kubernetes.io/name", "reclaim"), (LABEL, &self.lock)]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
    }

    fn set_holder(&self, lease: &mut Lease) {
        let now = now();
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(self.holder.node.clone()),
            lease_duration_seconds: Some(self.holder.seconds),
            acquire_time: Some(now.clone()),
            renew_time: Some(now),
            ..lease.spec.take().unwrap_or_default()
        });
    }

    async fn replace(&self, lease: &Lease) -> Result<WriteResult, ClusterLockError> {
        let parameters = PostParams::default();
        let write = self.leases.replace(&self.name, &parameters, lease);
        self.write("update lease", write).await
    }

    async fn write(
        &self,
        verb: &'static str,
        call: impl Future<Output = kube::Result<Lease>>,
    ) -> Result<WriteResult, ClusterLockError> {
        let call = async {
            match call.await {
                Ok(lease) => Ok(WriteResult::Done(Box::new(lease))),
                // 409 for an outdated version, and for a name that exists. 404 for an update of a
                // deleted lease; for a creation it means that the namespace does not exist.
                Err(kube::Error::Api(status))
                    if status.code == 409 || (status.code == 404 && verb == "update lease") =>
                {
                    Ok(WriteResult::Conflict)
                }
                Err(error) => Err(error),
            }
        };
        self.call(verb, call).await
    }

    async fn call<T>(
        &self,
        verb: &'static str,
        call: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, ClusterLockError> {
        match tokio::time::timeout(self.timeout, call).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(ClusterLockError::of_call(verb, self.full_name(), error)),
            Err(_elapsed) => Err(ClusterLockError::NoAnswer {
                verb,
                lease: self.full_name(),
                after: self.timeout,
            }),
        }
    }
}

/// Returns the time of day, which is informative in leases and Events: no node compares it with its
/// own.
#[expect(
    clippy::disallowed_methods,
    reason = "informative; nothing depends on it"
)]
pub(crate) fn now() -> MicroTime {
    let now = std::time::SystemTime::now().try_into();
    MicroTime(now.unwrap_or(Timestamp::UNIX_EPOCH))
}
