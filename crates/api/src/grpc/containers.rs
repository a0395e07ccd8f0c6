//! The service by which engines register their containers.

use std::sync::Arc;
use std::time::Duration;

use reclaim_engine::{
    Engine, ListChange, OwnerName, RegisterError, RegisteredContainers, Renewed, TimeToLive,
    blocking,
};
use reclaim_model::{Caller, Container, Namespace, chain};
use tonic::{Request, Response, Status};

use super::error::invalid;
use super::proto;
use super::prune::sender;
use super::wire::{WireError, container, moment, namespace_or};
use crate::service::Service;

/// The service.
#[derive(Debug)]
pub(super) struct Containers {
    registered: Arc<RegisteredContainers>,
    namespace: Namespace,
    /// Records the changes.
    engine: Arc<Engine>,
}

/// Whose list, where, and how long it is fresh.
struct List {
    owner: OwnerName,
    namespace: Namespace,
    time_to_live: TimeToLive,
}

impl Containers {
    pub(super) fn new(service: &Service) -> Self {
        Self {
            registered: Arc::clone(&service.parts.registered),
            namespace: service.parts.namespace.clone(),
            engine: Arc::clone(&service.parts.engine),
        }
    }

    fn list(
        &self,
        owner: &str,
        namespace: &str,
        time_to_live: Option<prost_types::Duration>,
    ) -> Result<List, Status> {
        let lives = match time_to_live {
            None => Some(TimeToLive::DEFAULT),
            Some(message) => Duration::try_from(message).ok().and_then(TimeToLive::new),
        };
        Ok(List {
            owner: self::owner(owner)?,
            namespace: namespace_or(&self.namespace, namespace).map_err(refused)?,
            time_to_live: lives.ok_or_else(|| invalid("time_to_live", "accepted are 1s to 24h"))?,
        })
    }

    /// Changes a list, and records what changed on whose request.
    async fn renew(
        &self,
        caller: Caller,
        list: List,
        change: impl FnOnce(&RegisteredContainers, &List) -> Result<Renewed, RegisterError>
        + Send
        + 'static,
    ) -> Result<Option<prost_types::Timestamp>, Status> {
        let owner = list.owner.clone();
        let changing = self.change(caller, owner, move |registered| {
            let Renewed { expires, change } = change(registered, &list)?;
            Ok((expires, vec![change]))
        });
        Ok(Some(moment(changing.await?)))
    }

    /// Makes a change off the threads that serve calls, because it is written to disk, and records it.
    /// A client that disconnects does not come between the two.
    async fn change<T: Send + 'static>(
        &self,
        caller: Caller,
        owner: OwnerName,
        change: impl FnOnce(&RegisteredContainers) -> Result<(T, Vec<ListChange>), RegisterError>
        + Send
        + 'static,
    ) -> Result<T, Status> {
        let registered = Arc::clone(&self.registered);
        let engine = self.engine.called_by(caller);
        let changing = tokio::spawn(async move {
            let (result, changes) = blocking(move || change(&registered)).await?;
            for change in changes {
                engine.audit_registration(&owner, change).await;
            }
            Ok(result)
        });
        let changed: Result<T, RegisterError> = changing
            .await
            .map_err(|error| Status::internal(error.to_string()))?;
        changed.map_err(|error| Status::unavailable(chain(&error)))
    }
}

#[tonic::async_trait]
impl proto::container_service_server::ContainerService for Containers {
    async fn replace(
        &self,
        request: Request<proto::ReplaceRequest>,
    ) -> Result<Response<proto::ReplaceResponse>, Status> {
        let caller = sender(&request).caller;
        let message = request.into_inner();
        let list = self.list(&message.owner, &message.namespace, message.time_to_live)?;
        let containers = containers(message.containers)?;
        let expires = self.renew(caller, list, |registered, list| {
            registered.replace(&list.owner, &list.namespace, containers, list.time_to_live)
        });
        let expires = expires.await?;
        Ok(Response::new(proto::ReplaceResponse { expires }))
    }

    async fn upsert(
        &self,
        request: Request<proto::UpsertRequest>,
    ) -> Result<Response<proto::UpsertResponse>, Status> {
        let caller = sender(&request).caller;
        let message = request.into_inner();
        let list = self.list(&message.owner, &message.namespace, message.time_to_live)?;
        let containers = containers(message.containers)?;
        let expires = self.renew(caller, list, |registered, list| {
            registered.upsert(&list.owner, &list.namespace, containers, list.time_to_live)
        });
        let expires = expires.await?;
        Ok(Response::new(proto::UpsertResponse { expires }))
    }

    async fn remove(
        &self,
        request: Request<proto::RemoveRequest>,
    ) -> Result<Response<proto::RemoveResponse>, Status> {
        let caller = sender(&request).caller;
        let message = request.into_inner();
        let list = self.list(&message.owner, &message.namespace, message.time_to_live)?;
        let ids = message.ids;
        let expires = self.renew(caller, list, move |registered, list| {
            registered.remove(&list.owner, &list.namespace, &ids, list.time_to_live)
        });
        let expires = expires.await?;
        Ok(Response::new(proto::RemoveResponse { expires }))
    }

    async fn forget(
        &self,
        request: Request<proto::ForgetRequest>,
    ) -> Result<Response<proto::ForgetResponse>, Status> {
        let caller = sender(&request).caller;
        let owner = owner(&request.into_inner().owner)?;
        let forgetting = self.change(caller, owner.clone(), move |registered| {
            Ok(((), registered.forget(&owner)?))
        });
        forgetting.await?;
        Ok(Response::new(proto::ForgetResponse {}))
    }

    async fn list(
        &self,
        _: Request<proto::ListRequest>,
    ) -> Result<Response<proto::ListResponse>, Status> {
        let lists = self.registered.lists().into_iter();
        let lists = lists.map(|list| proto::OwnerList {
            owner: list.owner.to_string(),
            namespace: list.namespace.to_string(),
            expires: Some(moment(list.expires)),
            containers: list.containers.iter().map(Into::into).collect(),
        });
        Ok(Response::new(proto::ListResponse {
            lists: lists.collect(),
        }))
    }
}

fn owner(text: &str) -> Result<OwnerName, Status> {
    text.parse().map_err(|error| invalid("owner", error))
}

fn containers(messages: Vec<proto::Container>) -> Result<Vec<Container>, Status> {
    let read: Result<Vec<Container>, WireError> = messages.into_iter().map(container).collect();
    read.map_err(refused)
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn refused(error: WireError) -> Status {
    invalid(error.field, &error.problem)
}
