//! Leases.
//!
//! Source: containerd `core/metadata/leases.go`.

use containerd_client::services::v1::{
    AddResourceRequest, CreateRequest, CreateResponse, DeleteRequest, DeleteResourceRequest,
    Lease as LeaseMessage, ListRequest, ListResourcesRequest, ListResourcesResponse, ListResponse,
    Resource,
};
use reclaim_model::CollectorRules;
use tonic::Status;

use super::call::{Unary, exists, not_found, time};
use crate::filter::Filters;
use crate::reply::Reply;
use crate::state::Lease;

const LEASE: &str = "lease";

pub(super) fn call(method: &str, call: &mut Unary<'_>) -> Option<Result<Reply, Status>> {
    Some(match method {
        "Create" => create(call),
        "Delete" => delete(call),
        "List" => list(call),
        "AddResource" => add_resource(call),
        "DeleteResource" => delete_resource(call),
        "ListResources" => list_resources(call),
        _ => return None,
    })
}

fn create(call: &mut Unary<'_>) -> Result<Reply, Status> {
    let request: CreateRequest = call.read()?;
    let message = LeaseMessage {
        id: request.id,
        created_at: time(call.context.now),
        labels: request.labels,
    };
    let leases = &mut call.space_mut()?.leases;
    if leases.contains_key(&message.id) {
        return Err(exists(LEASE, &message.id));
    }
    let lease = Lease {
        message: message.clone(),
        ..Lease::default()
    };
    leases.insert(message.id.clone(), lease);
    let lease = Some(message);
    Ok(Reply::one(&CreateResponse { lease }))
}

fn delete(call: &mut Unary<'_>) -> Result<Reply, Status> {
    let DeleteRequest { id, sync } = call.read()?;
    let lease = call.space_mut()?.leases.remove(&id);
    lease.ok_or_else(|| not_found(LEASE, &id))?;
    call.collect_if(sync);
    Ok(Reply::one(&()))
}

fn list(call: &Unary<'_>) -> Result<Reply, Status> {
    let request: ListRequest = call.read()?;
    let filters = Filters::parse(&request.filters)?;
    let leases = call
        .space()?
        .leases
        .values()
        .map(|lease| &lease.message)
        .filter(|lease| {
            filters.match_all(|field| match field.strip_prefix("labels.") {
                Some(label) => lease.labels.get(label).cloned(),
                None => (field == "id").then(|| lease.id.clone()),
            })
        })
        .cloned()
        .collect();
    Ok(Reply::one(&ListResponse { leases }))
}

fn add_resource(call: &mut Unary<'_>) -> Result<Reply, Status> {
    let request: AddResourceRequest = call.read()?;
    let resource = request.resource.unwrap_or_default();
    let kind = &resource.r#type;
    let is_image = kind == "images" && call.state.rules() >= CollectorRules::V2_0;
    if !is_image && kind != "content" && kind != "ingests" && !kind.starts_with("snapshots/") {
        return Err(Status::unimplemented(format!("lease resource {kind}")));
    }
    find(call, &request.id)?.hold(resource);
    Ok(Reply::one(&()))
}

fn delete_resource(call: &mut Unary<'_>) -> Result<Reply, Status> {
    let request: DeleteResourceRequest = call.read()?;
    let resource = request.resource.unwrap_or_default();
    let lease = find(call, &request.id)?;
    lease.resources.remove(&(resource.r#type, resource.id));
    Ok(Reply::one(&()))
}

fn list_resources(call: &Unary<'_>) -> Result<Reply, Status> {
    let ListResourcesRequest { id } = call.read()?;
    let found = call.space()?.leases.get(&id);
    let lease = found.ok_or_else(|| not_found(LEASE, &id))?;
    let resources = lease.resources.iter().cloned();
    Ok(Reply::one(&ListResourcesResponse {
        resources: resources
            .map(|(kind, id)| Resource { id, r#type: kind })
            .collect(),
    }))
}

fn find<'a>(call: &'a mut Unary<'_>, id: &str) -> Result<&'a mut Lease, Status> {
    let found = call.space_mut()?.leases.get_mut(id);
    found.ok_or_else(|| not_found(LEASE, id))
}
