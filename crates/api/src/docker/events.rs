//! `GET /events`: what runs have done, as it happens and from memory.
//!
//! Source: moby, `daemon/events/`.

mod filter;
mod form;
mod window;

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use super::api::{ApiRequest, DockerApi};
use super::error::ApiError;
use super::event_log::Event;
use filter::Filter;
use form::Form;
use window::Window;

pub(super) fn stream(
    api: &DockerApi,
    request: &ApiRequest,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let window = Window::parse(request.query.get("since"), request.query.get("until"))?;
    let filter = Filter::new(request.query.filters()?);
    let (mut past, live) = api.shared.events.subscribe();
    past.retain(|event| window.wants_past() && window.contains(event.time_nano));
    let cancel = api.shared.options.cancel.clone();
    // A new event may arrive after the end of the window, and before its timer.
    let live = live_until(live, window, cancel)
        .filter(move |event| std::future::ready(!window.ends_before(event.time_nano)));
    let events = stream::iter(past).chain(live);
    let form = Form::of(&request.version, headers);
    let lines = events.filter_map(move |event| {
        let encoded = filter
            .lets_through(&event)
            .then(|| form.write(&event))
            .flatten();
        std::future::ready(encoded.map(Ok::<Bytes, Infallible>))
    });
    let mut response = Response::new(Body::from_stream(lines));
    *response.status_mut() = StatusCode::OK;
    let content_type = HeaderValue::from_static(form.content_type);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    Ok(response)
}

/// Streams new events until the window ends or the daemon is shutting down.
fn live_until(
    live: broadcast::Receiver<Arc<Event>>,
    window: Window,
    cancel: CancellationToken,
) -> impl Stream<Item = Arc<Event>> {
    let end = Box::pin(async move {
        tokio::select! {
            () = window.end() => {}
            () = cancel.cancelled() => {}
        }
    });
    let events = stream::unfold(live, async |mut live| {
        loop {
            match live.recv().await {
                Ok(event) => return Some((event, live)),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    });
    Box::pin(events).take_until(end)
}
