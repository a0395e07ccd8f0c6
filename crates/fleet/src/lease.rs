//! One lease at the API server: read, taken, renewed, given back. Every write carries the version
//! that was read, so that of two that write at once one is told.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::Api;
use kube::api::{ObjectMeta, PostParams};

use crate::clock::time_of_day;
use crate::error::TurnError;
use crate::judge::Record;

/// What is written into leases of this node.
#[derive(Debug, Clone)]
pub(crate) struct Holder {
    pub(crate) node: String,
    pub(crate) seconds: i32,
}

/// One lease.
#[derive(Clone)]
pub(crate) struct Slot {
    pub(crate) leases: Api<Lease>,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) holder: Holder,
    /// How long an answer is waited for.
    pub(crate) patience: Duration,
}

/// What became of a write.
#[derive(Debug)]
pub(crate) enum Written {
    /// It is there, as it came back.
    Done(Box<Lease>),
    /// Another wrote first.
    Conflict,
}

impl Slot {
    /// Reads the lease; `None` if there is none yet.
    pub(crate) async fn read(&self) -> Result<Option<Lease>, TurnError> {
        self.ask("get", self.leases.get_opt(&self.name)).await
    }

    /// Makes the lease, held by this node.
    pub(crate) async fn create(&self) -> Result<Written, TurnError> {
        let mut lease = Lease {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                labels: Some([("app.kubernetes.io/name".to_owned(), "reclaim".to_owned())].into()),
                ..ObjectMeta::default()
            },
            spec: None,
        };
        self.hold(&mut lease, 0);
        let parameters = PostParams::default();
        self.write("create", self.leases.create(&parameters, &lease))
            .await
    }

    /// Writes this node into a lease that was judged to be free.
    pub(crate) async fn take(&self, mut lease: Lease) -> Result<Written, TurnError> {
        let before = Record::of(&lease);
        let changes_hands = i32::from(!before.is_of(&self.holder.node));
        self.hold(
            &mut lease,
            before.transitions().saturating_add(changes_hands),
        );
        self.replace(&lease).await
    }

    /// Writes a lease that this node holds anew.
    pub(crate) async fn renew(&self, mut lease: Lease) -> Result<Written, TurnError> {
        let spec = lease.spec.get_or_insert_default();
        spec.renew_time = Some(time_of_day());
        spec.lease_duration_seconds = Some(self.holder.seconds);
        self.replace(&lease).await
    }

    /// Takes this node out of a lease that it holds.
    pub(crate) async fn give_back(&self, mut lease: Lease) -> Result<Written, TurnError> {
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = None;
        spec.renew_time = Some(time_of_day());
        self.replace(&lease).await
    }

    /// Returns namespace and name.
    pub(crate) fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    fn hold(&self, lease: &mut Lease, transitions: i32) {
        let now = time_of_day();
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(self.holder.node.clone()),
            lease_duration_seconds: Some(self.holder.seconds),
            acquire_time: Some(now.clone()),
            renew_time: Some(now),
            lease_transitions: Some(transitions),
            ..lease.spec.take().unwrap_or_default()
        });
    }

    async fn replace(&self, lease: &Lease) -> Result<Written, TurnError> {
        let parameters = PostParams::default();
        let write = self.leases.replace(&self.name, &parameters, lease);
        self.write("update", write).await
    }

    async fn write(
        &self,
        verb: &'static str,
        call: impl Future<Output = kube::Result<Lease>>,
    ) -> Result<Written, TurnError> {
        let call = async {
            match call.await {
                Ok(lease) => Ok(Written::Done(Box::new(lease))),
                // 409 for a version that is not the newest, and for a name that exists. 404 for
                // a lease that somebody deleted, but not for a namespace that is not there.
                Err(kube::Error::Api(status))
                    if status.code == 409 || (status.code == 404 && verb == "update") =>
                {
                    Ok(Written::Conflict)
                }
                Err(error) => Err(error),
            }
        };
        self.ask(verb, call).await
    }

    async fn ask<T>(
        &self,
        verb: &'static str,
        call: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, TurnError> {
        match tokio::time::timeout(self.patience, call).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(TurnError::of_call(verb, self.full_name(), error)),
            Err(_elapsed) => Err(TurnError::NoAnswer {
                verb,
                lease: self.full_name(),
                after: self.patience,
            }),
        }
    }
}
