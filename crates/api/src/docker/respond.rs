//! Responses in Docker's form.

use axum::body::Body;
use axum::response::Response;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderName, StatusCode};
use serde::Serialize;

use super::error::ApiError;
use super::version::{ApiVersion, NEWEST};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// The header `Server`, with the version that `GET /version` returns.
const SERVER: HeaderValue =
    HeaderValue::from_static(concat!("Reclaim/", env!("CARGO_PKG_VERSION"), " (linux)"));

/// The header with the ID of the run, as in the log and in `reclaim history`.
pub(super) const RUN: HeaderName = HeaderName::from_static("reclaim-run");

/// Returns a response with a JSON value, ended by a newline as Go ends it.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(mut body) => {
            body.push(b'\n');
            respond(status, JSON, body)
        }
        Err(error) => {
            let message = format!("cannot encode the response: {error}");
            respond(StatusCode::INTERNAL_SERVER_ERROR, TEXT, message.into())
        }
    }
}

/// Returns a response with a JSON text.
pub(super) fn json_text(status: StatusCode, body: Vec<u8>) -> Response {
    respond(status, JSON, body)
}

pub(super) fn text(status: StatusCode, body: &'static str) -> Response {
    respond(status, TEXT, body.into())
}

fn respond(status: StatusCode, content_type: HeaderValue, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// Returns the response of an error; plain text for very old clients.
pub(super) fn error(error: &ApiError, version: &ApiVersion) -> Response {
    if version.has_json_errors() {
        return json(
            error.status,
            &Message {
                message: &error.message,
            },
        );
    }
    let body = format!("{}\n", error.message);
    respond(error.status, TEXT, body.into_bytes())
}

/// Returns the response of an unknown path: without the headers of an engine, as in Docker.
pub(super) fn page_not_found() -> Response {
    let message = "page not found";
    json(StatusCode::NOT_FOUND, &Message { message })
}

pub(super) fn empty_list() -> Response {
    json(StatusCode::OK, &[(); 0])
}

pub(super) fn no_volumes() -> Response {
    json(
        StatusCode::OK,
        &serde_json::json!({"Volumes": [], "Warnings": null}),
    )
}

/// Adds the headers of every response of an engine.
pub(super) fn with_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert("api-version", HeaderValue::from_static(NEWEST));
    headers.insert("docker-experimental", HeaderValue::from_static("false"));
    headers.insert("ostype", HeaderValue::from_static("linux"));
    headers.insert("server", SERVER);
    response
}

#[derive(Serialize)]
struct Message<'a> {
    message: &'a str,
}
