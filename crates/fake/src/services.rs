//! The services, each method as containerd answers it.

mod containers;
mod content;
mod images;
mod leases;
mod node;
mod snapshots;

use std::sync::LazyLock;

use bytes::Bytes;
use containerd_client::types::Envelope;
use jiff::Timestamp;
use prost::Message;
use tokio::sync::mpsc;
use tonic::Status;

use crate::events::Event;
use crate::fake::Fake;
use crate::filter::Filters;
use crate::reply::{Reply, decode, frame};
use crate::state::{Lease, Namespace, State, timestamp};

/// The headers of a call, and when it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) namespace: String,
    pub(crate) lease: Option<String>,
    pub(crate) now: Timestamp,
}

/// A call to one method, with its only message.
pub(crate) struct Unary<'a> {
    pub(crate) state: &'a mut State,
    pub(crate) context: &'a Context,
    message: Bytes,
}

impl Unary<'_> {
    pub(crate) fn read<M: Message + Default>(&self) -> Result<M, Status> {
        decode(&self.message)
    }

    /// Returns the namespace of the call to read it; an empty one if it does not exist.
    pub(crate) fn space(&self) -> Result<&Namespace, Status> {
        static EMPTY: LazyLock<Namespace> = LazyLock::new(Namespace::default);
        self.named()?;
        let found = self.state.namespaces.get(&self.context.namespace);
        Ok(found.unwrap_or(&EMPTY))
    }

    /// Returns the namespace of the call to change it.
    pub(crate) fn space_mut(&mut self) -> Result<&mut Namespace, Status> {
        self.named()?;
        Ok(self.state.namespace(&self.context.namespace))
    }

    /// Returns the lease that the call names.
    pub(crate) fn lease_mut(&mut self) -> Result<Option<&mut Lease>, Status> {
        let Some(id) = &self.context.lease else {
            return Ok(None);
        };
        let leases = &mut self.state.namespace(&self.context.namespace).leases;
        let found = leases.get_mut(id);
        found.map(Some).ok_or_else(|| not_found("lease", id))
    }

    fn named(&self) -> Result<(), Status> {
        if self.context.namespace.is_empty() {
            let text = "namespace is required: failed precondition";
            return Err(Status::failed_precondition(text));
        }
        Ok(())
    }

    pub(crate) fn publish(&mut self, event: Event) {
        self.state.events.push(event);
    }

    /// Collects, for a deletion that waits for it.
    pub(crate) fn collect_if(&mut self, is_sync: bool) {
        if is_sync {
            self.state.collect(self.context.now);
        }
    }
}

pub(crate) fn not_found(what: &str, name: &str) -> Status {
    Status::not_found(format!("{what} \"{name}\": not found"))
}

pub(crate) fn exists(what: &str, name: &str) -> Status {
    Status::already_exists(format!("{what} \"{name}\": already exists"))
}

/// Carries out a call.
pub(crate) async fn call(
    fake: &Fake,
    method: &str,
    context: Context,
    mut messages: mpsc::UnboundedReceiver<Bytes>,
) -> Result<Reply, Status> {
    if method == "Content/Write" {
        return Ok(content::write(fake, context, messages));
    }
    let message = messages.recv().await;
    let message = message.ok_or_else(|| Status::internal("the request has no message"))?;
    if method == "Events/Subscribe" {
        return subscribe(fake, &message);
    }
    fake.change(|state| {
        unary(
            method,
            &mut Unary {
                state,
                context: &context,
                message,
            },
        )
    })
}

fn unary(method: &str, call: &mut Unary<'_>) -> Result<Reply, Status> {
    let (service, name) = method.split_once('/').unwrap_or_default();
    let reply = match service {
        "Images" => images::call(name, call),
        "Content" => content::call(name, call),
        "Leases" => leases::call(name, call),
        "Snapshots" => snapshots::call(name, call),
        "Containers" => containers::call(name, call),
        _ => node::call(method, call),
    };
    reply.unwrap_or_else(|| {
        Err(Status::unimplemented(format!(
            "the fake has no method {method}"
        )))
    })
}

/// Returns the events that match, from now on.
fn subscribe(fake: &Fake, message: &Bytes) -> Result<Reply, Status> {
    let request: containerd_client::services::v1::SubscribeRequest = decode(message)?;
    let filters = Filters::parse(&request.filters)?;
    let mut events = fake.subscribers().add(filters);
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(envelope) = events.recv().await {
            let envelope: Envelope = envelope;
            if sender.send(Ok(frame(&envelope))).is_err() {
                return;
            }
        }
        // The connection ends with the server.
        drop(sender.send(Err(Status::unavailable("transport is closing"))));
    });
    Ok(Reply::Stream(receiver))
}

/// The time of a call, as messages have it.
#[expect(clippy::unnecessary_wraps, reason = "as messages have it")]
pub(crate) fn time(now: Timestamp) -> Option<prost_types::Timestamp> {
    Some(timestamp(now))
}
