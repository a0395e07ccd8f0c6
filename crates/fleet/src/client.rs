//! The client for the cluster's API server.

use std::time::Duration;

use kube::{Client, Config};

use crate::error::ClusterLockError;

/// The longest timeout of one call to the API server.
pub(crate) const MAX_TIMEOUT: Duration = Duration::from_secs(10);

/// Finds the cluster: by a kubeconfig (`KUBECONFIG`, `~/.kube/config`), or else by the service account
/// of this pod. Does not contact the API server.
pub(crate) async fn client() -> Result<Client, ClusterLockError> {
    let mut cluster = Config::infer()
        .await
        .map_err(|source| ClusterLockError::NoCluster { source })?;
    cluster.connect_timeout = Some(MAX_TIMEOUT);
    cluster.read_timeout = Some(MAX_TIMEOUT);
    Client::try_from(cluster).map_err(|source| ClusterLockError::NoClient { source })
}
