//! Reads and writes one lease at the API server. Every write has the version that was read, so that
//! of two concurrent writes one fails.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};

use crate::error::ClusterLockError;
use crate::observation::Record;

/// This node as the holder of a lease.
#[derive(Debug, Clone)]
pub(crate) struct Holder {
    pub(crate) node: String,
    pub(crate) seconds: i32,
}

/// A client for one lease.
#[derive(Clone)]
pub(crate) struct LeaseClient {
    pub(crate) leases: Api<Lease>,
    pub(crate) namespace: String,
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
    /// Reads the lease; `None` if it does not exist.
    pub(crate) async fn read(&self) -> Result<Option<Lease>, ClusterLockError> {
        self.call("get", self.leases.get_opt(&self.name)).await
    }

    /// Creates the lease, held by this node.
    pub(crate) async fn create(&self) -> Result<WriteResult, ClusterLockError> {
        let mut lease = Lease {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                labels: Some([("app.kubernetes.io/name".to_owned(), "reclaim".to_owned())].into()),
                ..ObjectMeta::default()
            },
            spec: None,
        };
        self.set_holder(&mut lease, 0);
        let parameters = PostParams::default();
        self.write("create", self.leases.create(&parameters, &lease))
            .await
    }

    /// Makes this node the holder of an existing lease.
    pub(crate) async fn take(&self, mut lease: Lease) -> Result<WriteResult, ClusterLockError> {
        let before = Record::of(&lease);
        let transition = i32::from(!before.is_of(&self.holder.node));
        self.set_holder(&mut lease, before.transitions().saturating_add(transition));
        self.replace(&lease).await
    }

    /// Renews a lease that this node holds.
    pub(crate) async fn renew(&self, mut lease: Lease) -> Result<WriteResult, ClusterLockError> {
        let spec = lease.spec.get_or_insert_default();
        spec.renew_time = Some(now());
        spec.lease_duration_seconds = Some(self.holder.seconds);
        self.replace(&lease).await
    }

    /// Releases a lease that this node holds.
    pub(crate) async fn release(&self, mut lease: Lease) -> Result<WriteResult, ClusterLockError> {
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = None;
        spec.renew_time = Some(now());
        self.replace(&lease).await
    }

    /// Returns the namespace and name of the lease.
    pub(crate) fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    fn set_holder(&self, lease: &mut Lease, transitions: i32) {
        let now = now();
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(self.holder.node.clone()),
            lease_duration_seconds: Some(self.holder.seconds),
            acquire_time: Some(now.clone()),
            renew_time: Some(now),
            lease_transitions: Some(transitions),
            ..lease.spec.take().unwrap_or_default()
        });
    }

    async fn replace(&self, lease: &Lease) -> Result<WriteResult, ClusterLockError> {
        let parameters = PostParams::default();
        let write = self.leases.replace(&self.name, &parameters, lease);
        self.write("update", write).await
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
                    if status.code == 409 || (status.code == 404 && verb == "update") =>
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
