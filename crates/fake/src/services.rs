//! The services of containerd, by method.

mod call;
mod containers;
mod content;
mod images;
mod leases;
mod node;
mod snapshots;

use bytes::Bytes;
use tokio::sync::mpsc;
use tonic::Status;

use crate::fake::Fake;
use crate::filter::Filters;
use crate::reply::{Reply, decode, frame};
pub(crate) use call::Context;
use call::Unary;

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
    let message = messages
        .recv()
        .await
        .ok_or_else(|| Status::internal("the request has no message"))?;
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

/// Returns a stream of new events that match.
fn subscribe(fake: &Fake, message: &Bytes) -> Result<Reply, Status> {
    let request: containerd_client::services::v1::SubscribeRequest = decode(message)?;
    let filters = Filters::parse(&request.filters)?;
    let mut events = fake.subscribers().add(filters);
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(envelope) = events.recv().await {
            if sender.send(Ok(frame(&envelope))).is_err() {
                return;
            }
        }
        // The server was stopped.
        drop(sender.send(Err(Status::unavailable("transport is closing"))));
    });
    Ok(Reply::Stream(receiver))
}
