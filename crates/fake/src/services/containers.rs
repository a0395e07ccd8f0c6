//! Container records.
//!
//! Source: containerd `core/metadata/containers.go`.

use containerd_client::services::v1::{
    CreateContainerRequest, CreateContainerResponse, DeleteContainerRequest, GetContainerRequest,
    GetContainerResponse, ListContainerMessage, ListContainersRequest, ListContainersResponse,
};
use tonic::Status;

use super::call::{Unary, exists, not_found, time};
use crate::events::Event;
use crate::reply::{Reply, frame};

const CONTAINER: &str = "container";

pub(super) fn call(method: &str, call: &mut Unary<'_>) -> Option<Result<Reply, Status>> {
    Some(match method {
        "List" => list(call),
        "ListStream" => list_stream(call),
        "Get" => get(call),
        "Create" => create(call),
        "Delete" => delete(call),
        _ => return None,
    })
}

fn list(call: &Unary<'_>) -> Result<Reply, Status> {
    let ListContainersRequest { .. } = call.read()?;
    let containers = call.space()?.containers.values().cloned().collect();
    Ok(Reply::one(&ListContainersResponse { containers }))
}

fn list_stream(call: &Unary<'_>) -> Result<Reply, Status> {
    let containers = call.space()?.containers.values();
    let messages = containers.map(|container| {
        let container = Some(container.clone());
        frame(&ListContainerMessage { container })
    });
    Ok(Reply::Messages(messages.collect()))
}

fn get(call: &Unary<'_>) -> Result<Reply, Status> {
    let GetContainerRequest { id } = call.read()?;
    let found = call.space()?.containers.get(&id).cloned();
    let container = found.ok_or_else(|| not_found(CONTAINER, &id))?;
    Ok(Reply::one(&GetContainerResponse {
        container: Some(container),
    }))
}

fn create(call: &mut Unary<'_>) -> Result<Reply, Status> {
    let request: CreateContainerRequest = call.read()?;
    let mut container = request.container.unwrap_or_default();
    container.created_at = time(call.context.now);
    container.updated_at = container.created_at;
    let containers = &mut call.space_mut()?.containers;
    if containers.contains_key(&container.id) {
        return Err(exists(CONTAINER, &container.id));
    }
    containers.insert(container.id.clone(), container.clone());
    let event = Event::container_created(&call.context.namespace, &container);
    call.publish(event);
    let container = Some(container);
    Ok(Reply::one(&CreateContainerResponse { container }))
}

fn delete(call: &mut Unary<'_>) -> Result<Reply, Status> {
    let DeleteContainerRequest { id } = call.read()?;
    let removed = call.space_mut()?.containers.remove(&id);
    removed.ok_or_else(|| not_found(CONTAINER, &id))?;
    let event = Event::container_deleted(&call.context.namespace, &id);
    call.publish(event);
    Ok(Reply::one(&()))
}
