//! The parameters of a request, from the URL and from the body of a posted form.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use reclaim_model::{FilterArgs, FilterError};

use super::error::ApiError;

/// The largest form that is read, in bytes. Filters take a few hundred.
const MAX_FORM: usize = 1 << 20;

/// How long a form may take to arrive.
const FORM_TIME: Duration = Duration::from_secs(15);

/// The content type of a posted form.
const FORM: &str = "application/x-www-form-urlencoded";

/// Parameters by name. Several values keep their order; as in Go, the body's precede the URL's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Query {
    values: BTreeMap<String, Vec<String>>,
}

impl Query {
    /// Reads the parameters. A body that is not a form is ignored.
    pub(super) async fn read(request: Request<Body>) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let mut query = Self::default();
        let content_type = parts
            .headers
            .get(CONTENT_TYPE)
            .and_then(|header| header.to_str().ok()?.split(';').next())
            .unwrap_or_default();
        if content_type.trim().eq_ignore_ascii_case(FORM) {
            let form = tokio::time::timeout(FORM_TIME, to_bytes(body, MAX_FORM))
                .await
                .map_err(|_| {
                    let seconds = FORM_TIME.as_secs();
                    let message = format!("the form did not arrive within {seconds} s");
                    ApiError::new(StatusCode::REQUEST_TIMEOUT, message)
                })?
                .map_err(|_| {
                    let message = format!("cannot read the form, or it exceeds {MAX_FORM} bytes");
                    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, message)
                })?;
            query.add(&form);
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

    /// Returns the first value of a parameter, or an empty text.
    pub(super) fn get(&self, name: &str) -> &str {
        let first = self.all(name).first();
        first.map_or("", String::as_str)
    }

    /// Returns all values of a parameter.
    pub(super) fn all(&self, name: &str) -> &[String] {
        self.values.get(name).map_or(&[], Vec::as_slice)
    }

    /// Returns all parameters as a query of a URL.
    pub(super) fn encoded(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, values) in &self.values {
            for value in values {
                query.append_pair(name, value);
            }
        }
        query.finish()
    }

    /// Returns a boolean parameter: any value is on, but for those that mean off.
    ///
    /// Source: moby, `daemon/server/httputils/form.go`.
    pub(super) fn is_on(&self, name: &str) -> bool {
        let value = self.get(name).trim().to_lowercase();
        !matches!(&*value, "" | "0" | "no" | "false" | "none")
    }

    /// Parses the parameter `filters`.
    pub(super) fn filters(&self) -> Result<FilterArgs, FilterError> {
        FilterArgs::from_json(self.get("filters"))
    }
}

/// Parses the filters of a query, the part of a URL after `?`.
///
/// # Errors
///
/// If `filters` is not a JSON document of filters.
pub fn filters_of_query(query: &[u8]) -> Result<FilterArgs, FilterError> {
    let mut parsed = Query::default();
    parsed.add(query);
    parsed.filters()
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
    fn a_boolean_is_on_unless_its_value_means_off() {
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
    fn accepts_any_text_as_a_query() {
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
    async fn limits_the_size_and_the_time_of_a_form() {
        let read = Query::read(posted(Body::from("a=1"))).await.unwrap();
        assert_eq!(read.all("a"), ["1", "2"]);
        let large = Query::read(posted(Body::from("x".repeat(MAX_FORM + 1)))).await;
        assert_eq!(large.unwrap_err().status, StatusCode::PAYLOAD_TOO_LARGE);
        let never = futures::stream::pending::<Result<bytes::Bytes, std::io::Error>>();
        let slow = Query::read(posted(Body::from_stream(never))).await;
        assert_eq!(slow.unwrap_err().status, StatusCode::REQUEST_TIMEOUT);
    }
}
