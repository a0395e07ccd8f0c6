//! The service by which engines register their containers.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use reclaim_engine::{OwnerName, RegisterError, RegisteredContainers, TimeToLive};
use reclaim_model::{Container, Namespace, chain};
use tonic::{Request, Response, Status};

use super::error::invalid;
use super::proto;
use super::wire::{WireError, container, moment, namespace_or};
use crate::service::Service;

/// The service.
#[derive(Debug)]
pub(super) struct Containers {
    registered: Arc<RegisteredContainers>,
    namespace: Namespace,
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

    /// Changes a list off the threads that serve calls: it is written to disk.
    async fn change(
        &self,
        list: List,
        change: impl FnOnce(&RegisteredContainers, &List) -> Result<Timestamp, RegisterError>
        + Send
        + 'static,
    ) -> Result<Option<prost_types::Timestamp>, Status> {
        let registered = Arc::clone(&self.registered);
        let changing = tokio::task::spawn_blocking(move || change(&registered, &list));
        Ok(Some(moment(written(changing.await)?)))
    }
}

#[tonic::async_trait]
impl proto::container_service_server::ContainerService for Containers {
    async fn replace(
        &self,
        request: Request<proto::ReplaceRequest>,
    ) -> Result<Response<proto::ReplaceResponse>, Status> {
        let message = request.into_inner();
        let list = self.list(&message.owner, &message.namespace, message.time_to_live)?;
        let containers = containers(message.containers)?;
        let expires = self.change(list, |registered, list| {
            registered.replace(&list.owner, &list.namespace, containers, list.time_to_live)
        });
        let expires = expires.await?;
        Ok(Response::new(proto::ReplaceResponse { expires }))
    }

    async fn upsert(
        &self,
        request: Request<proto::UpsertRequest>,
    ) -> Result<Response<proto::UpsertResponse>, Status> {
        let message = request.into_inner();
        let list = self.list(&message.owner, &message.namespace, message.time_to_live)?;
        let containers = containers(message.containers)?;
        let expires = self.change(list, |registered, list| {
            registered.upsert(&list.owner, &list.namespace, containers, list.time_to_live)
        });
        let expires = expires.await?;
        Ok(Response::new(proto::UpsertResponse { expires }))
    }

    async fn remove(
        &self,
        request: Request<proto::RemoveRequest>,
    ) -> Result<Response<proto::RemoveResponse>, Status> {
        let message = request.into_inner();
        let list = self.list(&message.owner, &message.namespace, message.time_to_live)?;
        let ids = message.ids;
        let expires = self.change(list, move |registered, list| {
            registered.remove(&list.owner, &list.namespace, &ids, list.time_to_live)
        });
        let expires = expires.await?;
        Ok(Response::new(proto::RemoveResponse { expires }))
    }

    async fn forget(
        &self,
        request: Request<proto::ForgetRequest>,
    ) -> Result<Response<proto::ForgetResponse>, Status> {
        let owner = owner(&request.into_inner().owner)?;
        let registered = Arc::clone(&self.registered);
        let forgetting = tokio::task::spawn_blocking(move || registered.forget(&owner));
        written(forgetting.await)?;
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

fn written<T>(done: Result<Result<T, RegisterError>, tokio::task::JoinError>) -> Result<T, Status> {
    let done = done.map_err(|error| Status::internal(error.to_string()))?;
    done.map_err(|error| Status::unavailable(chain(&error)))
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn refused(error: WireError) -> Status {
    invalid(error.field, &error.problem)
}
