//! Content: blobs, and what is being written.
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

use super::{Context, Unary, exists, not_found, time};
use crate::fake::Fake;
use crate::filter::Filters;
use crate::reply::{Reply, decode, frame};
use crate::state::{Ingest, State, digest_of};

const CONTENT: &str = "content";

/// How many blobs one message of a list names.
const PART: usize = 100;

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
    let infos = call.space()?.content.values();
    let infos = infos.filter(|info| {
        filters.match_all(|field| match field.strip_prefix("labels.") {
            Some(label) => info.labels.get(label).cloned(),
            None => (field == "digest").then(|| info.digest.clone()),
        })
    });
    let infos: Vec<Info> = infos.cloned().collect();
    let parts = infos.chunks(PART).map(|part| {
        frame(&ListContentResponse {
            info: part.to_vec(),
        })
    });
    Ok(Reply::Messages(parts.collect()))
}

fn info(call: &Unary<'_>) -> Result<Reply, Status> {
    let InfoRequest { digest } = call.read()?;
    let info = call.space()?.content.get(&digest).cloned();
    let info = Some(info.ok_or_else(|| not_found(CONTENT, &digest))?);
    Ok(Reply::one(&InfoResponse { info }))
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
    // An empty value takes a label away.
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
    let body = call.state.body(&call.context.namespace, &request.digest);
    let body = body.ok_or_else(|| not_found(CONTENT, &request.digest))?;
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

/// Writes a blob, message by message.
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
            let answer = decode(&message)
                .and_then(|request| fake.change(|state| writing.take(state, &context, request)));
            let is_over = answer.as_ref().map_or(true, |it| it.1);
            let answer = answer.map(|(answer, _)| frame(&answer));
            if sender.send(answer).is_err() || is_over {
                return;
            }
        }
    });
    Reply::Stream(receiver)
}

/// One writer.
#[derive(Debug, Default)]
struct Writing {
    reference: String,
    expected: String,
    total: i64,
}

impl Writing {
    /// Takes a message. Returns the answer, and whether it is the last.
    fn take(
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
            .and_then(|it| it.started);
        let action = request.action();
        let block = 4096;
        let room = state
            .capacity
            .map(|it| it.saturating_sub(state.occupied(block)));
        let ingests = &mut state.namespace(&context.namespace).ingests;
        let ingest = ingests.get_mut(&self.reference);
        let ingest = ingest.ok_or_else(|| not_found("ingest", &self.reference))?;
        if !request.data.is_empty() {
            if room.is_some_and(|room| room < (ingest.data.len() + request.data.len()) as u64) {
                return Err(Status::unknown("write: no space left on device"));
            }
            let from = usize::try_from(request.offset).unwrap_or(0);
            if from != ingest.data.len() {
                return Err(Status::out_of_range("offset differs from what is written"));
            }
            ingest.data.extend_from_slice(&request.data);
        }
        let mut answer = WriteContentResponse {
            action: action.into(),
            started_at: started,
            updated_at: time(context.now),
            offset: length(&ingest.data),
            total: self.total,
            digest: String::new(),
        };
        if action != WriteAction::Commit {
            return Ok((answer, false));
        }
        let data = std::mem::take(&mut ingest.data);
        ingests.remove(&self.reference);
        answer.digest = self.commit(state, context, data, request)?;
        Ok((answer, true))
    }

    /// Begins with the first message.
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
        let is_there = {
            let space = state.namespace(&context.namespace);
            space.content.contains_key(&self.expected)
        };
        let lease = lease(state, context)?;
        if is_there {
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
        // What another namespace has is adopted without its bytes.
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
        let is_there = state.namespace(namespace).content.contains_key(&digest);
        if is_adopted {
            let length = u64::try_from(self.total).unwrap_or(0);
            state.put_opaque_blob(namespace, &digest, length, request.labels);
        } else if !is_there {
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
        if is_there {
            return Err(exists(CONTENT, &digest));
        }
        Ok(digest)
    }
}

/// Returns the lease that a call names.
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
