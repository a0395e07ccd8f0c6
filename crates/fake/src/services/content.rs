//! Content: blobs and ingests.
//!
//! Source: containerd `core/metadata/content.go`, `plugins/services/content/contentserver`.

use bytes::Bytes;
use containerd_client::services::v1::{
    AbortRequest, DeleteContentRequest, Info, InfoRequest, InfoResponse, ListContentRequest,
    ListContentResponse, ListStatusesRequest, ListStatusesResponse, ReadContentRequest,
    ReadContentResponse, Status as IngestStatus, UpdateRequest, UpdateResponse, WriteAction,
    WriteContentRequest, WriteContentResponse,
};
use prost_types::FieldMask;
use tokio::sync::mpsc;
use tonic::Status;

use super::call::{Context, Unary, exists, not_found, time};
use crate::fake::Fake;
use crate::filter::Filters;
use crate::reply::{Reply, decode, frame};
use crate::state::{Ingest, State, digest_of};

const CONTENT: &str = "content";

/// The blobs in one message of a list.
const PER_MESSAGE: usize = 100;

pub(super) fn call(method: &str, call: &mut Unary<'_>) -> Option<Result<Reply, Status>> {
    Some(match method {
        "List" => list(call),
        "Info" => info(call),
        "Update" => update(call),
        "Delete" => delete(call),
        "Read" => read(call),
        "ListStatuses" => list_statuses(call),
        "Abort" => abort(call),
        _ => return None,
    })
}

fn list(call: &Unary<'_>) -> Result<Reply, Status> {
    let request: ListContentRequest = call.read()?;
    let filters = Filters::parse(&request.filters)?;
    let infos: Vec<Info> = call
        .space()?
        .content
        .values()
        .filter(|info| {
            filters.match_all(|field| match field.strip_prefix("labels.") {
                Some(label) => info.labels.get(label).cloned(),
                None => (field == "digest").then(|| info.digest.clone()),
            })
        })
        .cloned()
        .collect();
    let messages = infos.chunks(PER_MESSAGE).map(|chunk| {
        frame(&ListContentResponse {
            info: chunk.to_vec(),
        })
    });
    Ok(Reply::Messages(messages.collect()))
}

fn info(call: &Unary<'_>) -> Result<Reply, Status> {
    let InfoRequest { digest } = call.read()?;
    let found = call.space()?.content.get(&digest).cloned();
    let info = found.ok_or_else(|| not_found(CONTENT, &digest))?;
    Ok(Reply::one(&InfoResponse { info: Some(info) }))
}

fn update(call: &mut Unary<'_>) -> Result<Reply, Status> {
    let request: UpdateRequest = call.read()?;
    let new = request.info.unwrap_or_default();
    let now = time(call.context.now);
    let content = &mut call.space_mut()?.content;
    let info = content
        .get_mut(&new.digest)
        .ok_or_else(|| not_found(CONTENT, &new.digest))?;
    let FieldMask { paths } = request.update_mask.unwrap_or_default();
    if paths.is_empty() {
        info.labels = new.labels;
    } else {
        for path in paths {
            match path.strip_prefix("labels.") {
                Some(label) => {
                    let value = new.labels.get(label).cloned().unwrap_or_default();
                    info.labels.insert(label.to_owned(), value);
                }
                None if path == "labels" => info.labels.clone_from(&new.labels),
                None => return Err(Status::invalid_argument(format!("field `{path}`"))),
            }
        }
    }
    // An empty value removes a label.
    info.labels.retain(|_, value| !value.is_empty());
    info.updated_at = now;
    let info = Some(info.clone());
    Ok(Reply::one(&UpdateResponse { info }))
}

fn delete(call: &mut Unary<'_>) -> Result<Reply, Status> {
    let DeleteContentRequest { digest } = call.read()?;
    let removed = call.space_mut()?.content.remove(&digest);
    removed.ok_or_else(|| not_found(CONTENT, &digest))?;
    Ok(Reply::one(&()))
}

fn read(call: &Unary<'_>) -> Result<Reply, Status> {
    let request: ReadContentRequest = call.read()?;
    let body = call
        .state
        .body(&call.context.namespace, &request.digest)
        .ok_or_else(|| not_found(CONTENT, &request.digest))?;
    let from = usize::try_from(request.offset).unwrap_or(0).min(body.len());
    let to = match usize::try_from(request.size).unwrap_or(0) {
        0 => body.len(),
        size => from.saturating_add(size).min(body.len()),
    };
    Ok(Reply::one(&ReadContentResponse {
        offset: request.offset,
        data: body.slice(from..to).to_vec(),
    }))
}

fn list_statuses(call: &Unary<'_>) -> Result<Reply, Status> {
    let ListStatusesRequest { .. } = call.read()?;
    let ingests = call.space()?.ingests.iter();
    let statuses = ingests.map(|(reference, ingest)| IngestStatus {
        started_at: ingest.started,
        updated_at: ingest.started,
        r#ref: reference.clone(),
        offset: length(&ingest.data),
        total: ingest.total,
        expected: ingest.expected.clone(),
    });
    Ok(Reply::one(&ListStatusesResponse {
        statuses: statuses.collect(),
    }))
}

fn abort(call: &mut Unary<'_>) -> Result<Reply, Status> {
    let AbortRequest { r#ref: reference } = call.read()?;
    let removed = call.space_mut()?.ingests.remove(&reference);
    removed.ok_or_else(|| not_found("ingest", &reference))?;
    Ok(Reply::one(&()))
}

/// Writes a blob from a stream of messages.
pub(super) fn write(
    fake: &Fake,
    context: Context,
    mut messages: mpsc::UnboundedReceiver<Bytes>,
) -> Reply {
    let (sender, receiver) = mpsc::unbounded_channel();
    let fake = fake.clone();
    tokio::spawn(async move {
        let mut writing = Writing::default();
        while let Some(message) = messages.recv().await {
            let result = decode(&message)
                .and_then(|request| fake.change(|state| writing.handle(state, &context, request)));
            let is_last = result.as_ref().map_or(true, |(_, is_last)| *is_last);
            let response = result.map(|(response, _)| frame(&response));
            if sender.send(response).is_err() || is_last {
                return;
            }
        }
    });
    Reply::Stream(receiver)
}

/// The state of a writer.
#[derive(Debug, Default)]
struct Writing {
    reference: String,
    expected: String,
    total: i64,
}

impl Writing {
    /// Handles a message. Returns the response, and whether it is the last.
    fn handle(
        &mut self,
        state: &mut State,
        context: &Context,
        request: WriteContentRequest,
    ) -> Result<(WriteContentResponse, bool), Status> {
        self.open(state, context, &request)?;
        let started = state
            .namespace(&context.namespace)
            .ingests
            .get(&self.reference)
            .and_then(|ingest| ingest.started);
        let action = request.action();
        let block = 4096;
        let free = state
            .capacity
            .map(|capacity| capacity.saturating_sub(state.occupied(block)));
        let ingests = &mut state.namespace(&context.namespace).ingests;
        let ingest = ingests
            .get_mut(&self.reference)
            .ok_or_else(|| not_found("ingest", &self.reference))?;
        if !request.data.is_empty() {
            if free.is_some_and(|free| free < (ingest.data.len() + request.data.len()) as u64) {
                return Err(Status::unknown("write: no space left on device"));
            }
            let from = usize::try_from(request.offset).unwrap_or(0);
            if from != ingest.data.len() {
                return Err(Status::out_of_range("offset differs from what is written"));
            }
            ingest.data.extend_from_slice(&request.data);
        }
        let mut response = WriteContentResponse {
            action: action.into(),
            started_at: started,
            updated_at: time(context.now),
            offset: length(&ingest.data),
            total: self.total,
            digest: String::new(),
        };
        if action != WriteAction::Commit {
            return Ok((response, false));
        }
        let data = std::mem::take(&mut ingest.data);
        ingests.remove(&self.reference);
        response.digest = self.commit(state, context, data, request)?;
        Ok((response, true))
    }

    /// Opens the ingest at the first message.
    fn open(
        &mut self,
        state: &mut State,
        context: &Context,
        request: &WriteContentRequest,
    ) -> Result<(), Status> {
        if !request.expected.is_empty() {
            self.expected.clone_from(&request.expected);
        }
        if request.total > 0 {
            self.total = request.total;
        }
        if !self.reference.is_empty() {
            return Ok(());
        }
        self.reference.clone_from(&request.r#ref);
        let exists_already = {
            let space = state.namespace(&context.namespace);
            space.content.contains_key(&self.expected)
        };
        let lease = lease(state, context)?;
        if exists_already {
            if let Some(lease) = lease {
                lease.hold(resource(&self.expected));
            }
            return Err(exists(CONTENT, &self.expected));
        }
        let ingests = &mut state.namespace(&context.namespace).ingests;
        ingests
            .entry(self.reference.clone())
            .or_insert_with(|| Ingest {
                expected: self.expected.clone(),
                total: self.total,
                started: time(context.now),
                ..Ingest::default()
            });
        Ok(())
    }

    fn commit(
        &self,
        state: &mut State,
        context: &Context,
        data: Vec<u8>,
        request: WriteContentRequest,
    ) -> Result<String, Status> {
        // containerd adopts content of another namespace without its bytes.
        let is_adopted = data.is_empty() && state.has_body(&self.expected);
        let digest = if is_adopted {
            self.expected.clone()
        } else {
            digest_of(&data)
        };
        if !self.expected.is_empty() && self.expected != digest {
            let text = format!("unexpected digest {digest}, expected {}", self.expected);
            return Err(Status::failed_precondition(text));
        }
        let namespace = &context.namespace;
        let exists_already = state.namespace(namespace).content.contains_key(&digest);
        if is_adopted {
            let length = u64::try_from(self.total).unwrap_or(0);
            state.put_opaque_blob(namespace, &digest, length, request.labels);
        } else if !exists_already {
            state.put_blob(namespace, data, request.labels);
        }
        let now = time(context.now);
        if let Some(info) = state.namespace(namespace).content.get_mut(&digest) {
            info.created_at = info.created_at.or(now);
            info.updated_at = now;
        }
        if let Some(lease) = lease(state, context)? {
            lease.hold(resource(&digest));
        }
        if exists_already {
            return Err(exists(CONTENT, &digest));
        }
        Ok(digest)
    }
}

/// Returns the lease of a call.
fn lease<'a>(
    state: &'a mut State,
    context: &Context,
) -> Result<Option<&'a mut crate::state::Lease>, Status> {
    let Some(id) = &context.lease else {
        return Ok(None);
    };
    let found = state.namespace(&context.namespace).leases.get_mut(id);
    found.map(Some).ok_or_else(|| not_found("lease", id))
}

fn resource(digest: &str) -> containerd_client::services::v1::Resource {
    containerd_client::services::v1::Resource {
        id: digest.to_owned(),
        r#type: CONTENT.to_owned(),
    }
}

fn length(data: &[u8]) -> i64 {
    i64::try_from(data.len()).unwrap_or(i64::MAX)
}
