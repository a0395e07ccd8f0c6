//! The parameters of a request: those of the URL and, of a posted form, those of the body.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use reclaim_model::{FilterArgs, FilterError};

use super::error::ApiError;

/// The largest form that is read, in bytes. Filters are a few hundred.
const MAX_FORM: usize = 1 << 20;

/// How long a form may take to arrive.
const FORM_TIME: Duration = Duration::from_secs(15);

/// What a posted form is called.
const FORM: &str = "application/x-www-form-urlencoded";

/// Parameters by name; several values keep their order, the body's before the URL's, as in Go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Query {
    values: BTreeMap<String, Vec<String>>,
}

impl Query {
    /// Reads the parameters. A body that is no form is not looked at.
    pub(super) async fn read(request: Request<Body>) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let mut query = Self::default();
        let kind = parts.headers.get(CONTENT_TYPE);
        let kind = kind.and_then(|it| it.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if kind.eq_ignore_ascii_case(FORM) {
            let body = tokio::time::timeout(FORM_TIME, to_bytes(body, MAX_FORM)).await;
            let body = body.map_err(|_| {
                let message = format!("the form did not arrive within {} s", FORM_TIME.as_secs());
                ApiError::new(StatusCode::REQUEST_TIMEOUT, message)
            })?;
            let body = body.map_err(|_| {
                let message = format!("the form cannot be read, or has more than {MAX_FORM} bytes");
                ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, message)
            })?;
            query.add(&body);
        }
        query.add(parts.uri.query().unwrap_or_default().as_bytes());
        Ok(query)
    }

    fn add(&mut self, text: &[u8]) {
        for (name, value) in form_urlencoded::parse(text) {
            let values = self.values.entry(name.into_owned()).or_default();
            values.push(value.into_owned());
        }
    }

    /// Returns the first value of a parameter; empty if there is none.
    pub(super) fn get(&self, name: &str) -> &str {
        let first = self.all(name).first();
        first.map_or("", String::as_str)
    }

    /// Returns all values of a parameter.
    pub(super) fn all(&self, name: &str) -> &[String] {
        self.values.get(name).map_or(&[], Vec::as_slice)
    }

    /// Reads a switch: anything is on that does not say off.
    ///
    /// Source: moby, `daemon/server/httputils/form.go`.
    pub(super) fn is_on(&self, name: &str) -> bool {
        let value = self.get(name).trim().to_lowercase();
        !matches!(&*value, "" | "0" | "no" | "false" | "none")
    }

    /// Reads the filters.
    pub(super) fn filters(&self) -> Result<FilterArgs, FilterError> {
        FilterArgs::from_json(self.get("filters"))
    }
}

/// Reads the filters of a query, which is what stands after `?` in a request.
///
/// # Errors
///
/// If they are no document of filters.
pub fn filters_of_query(query: &[u8]) -> Result<FilterArgs, FilterError> {
    let mut read = Query::default();
    read.add(query);
    read.filters()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Query {
        let mut query = Query::default();
        query.add(text.as_bytes());
        query
    }

    #[test]
    fn a_switch_is_on_unless_it_says_off() {
        for off in [
            "",
            "x=",
            "x=0",
            "x=no",
            "x=False",
            "x=none",
            "x=%20false%20",
        ] {
            assert!(!query(off).is_on("x"), "{off}");
        }
        for on in ["x=1", "x=true", "x=yes", "x=2", "x=off"] {
            assert!(query(on).is_on("x"), "{on}");
        }
    }

    #[test]
    fn takes_anything_for_a_query() {
        for odd in ["&&&", "=", "%", "%zz=%zz", "a=1&a=2&=3", "\u{0}=\u{0}"] {
            assert_eq!(query(odd).get("filters"), "");
        }
        assert_eq!(query("a=1&a=2").all("a"), ["1", "2"]);
    }

    fn posted(body: Body) -> Request<Body> {
        let request = Request::post("/images/prune?a=2").header(CONTENT_TYPE, FORM);
        request.body(body).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_form_is_bounded_in_size_and_in_time() {
        let read = Query::read(posted(Body::from("a=1"))).await.unwrap();
        assert_eq!(read.all("a"), ["1", "2"]);
        let large = Query::read(posted(Body::from("x".repeat(MAX_FORM + 1)))).await;
        assert_eq!(large.unwrap_err().status, StatusCode::PAYLOAD_TOO_LARGE);
        let never = futures::stream::pending::<Result<bytes::Bytes, std::io::Error>>();
        let slow = Query::read(posted(Body::from_stream(never))).await;
        assert_eq!(slow.unwrap_err().status, StatusCode::REQUEST_TIMEOUT);
    }
}
