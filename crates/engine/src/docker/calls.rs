//! The calls of the Docker Engine's API that list and remove, with the types of its definition.
//!
//! They are for the engine's own version of the API: the paths name none.

use std::time::Duration;

use bollard_stubs::models::{
    ContainerSummary, ErrorResponse, ImageDeleteResponseItem, ImageInspect, ImageSummary,
    SystemInfo,
};
use http::Method;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::de::DeserializeOwned;

use super::{DockerEngine, DockerError, TIMEOUT};

/// The characters of a name that would end the path.
///
/// Source: the path percent-encode set of the URL standard, and `%`.
const IN_PATHS: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'}');

impl DockerEngine {
    /// Lists the containers with all of these labels, in any state. A label is `KEY` or `KEY=VALUE`.
    ///
    /// # Errors
    ///
    /// [`DockerError`] if the engine does not list them.
    pub async fn containers_with(
        &self,
        labels: &[String],
    ) -> Result<Vec<ContainerSummary>, DockerError> {
        let mut query = vec![("all", "true".to_owned())];
        if !labels.is_empty() {
            query.push(filters(&[("label", labels)]));
        }
        self.call(Method::GET, "/containers/json", &query, "list containers")
            .await
    }

    /// Lists the images with a label, `KEY=VALUE`: those with names, or those without.
    ///
    /// # Errors
    ///
    /// [`DockerError`] if the engine does not list them.
    pub async fn images_with(
        &self,
        label: String,
        is_dangling: bool,
    ) -> Result<Vec<ImageSummary>, DockerError> {
        let (labels, dangling) = ([label], [is_dangling.to_string()]);
        let query = [filters(&[("label", &labels), ("dangling", &dangling)])];
        self.call(Method::GET, "/images/json", &query, "list images")
            .await
    }

    /// Returns what the engine reports about an image.
    ///
    /// # Errors
    ///
    /// [`DockerError`] if it reports nothing; [`DockerError::status`] is 404 if there is no such image.
    pub async fn image(&self, name: &str) -> Result<ImageInspect, DockerError> {
        let path = format!("/images/{}/json", utf8_percent_encode(name, IN_PATHS));
        self.call(Method::GET, &path, &[], "inspect the image")
            .await
    }

    /// Removes an image, but not its untagged parents.
    ///
    /// # Errors
    ///
    /// [`DockerError`] if the engine does not remove it; [`DockerError::status`] is 404 if there is no such
    /// image, and 409 if it is in use.
    pub async fn remove_image(
        &self,
        name: &str,
    ) -> Result<Vec<ImageDeleteResponseItem>, DockerError> {
        let path = format!("/images/{}", utf8_percent_encode(name, IN_PATHS));
        let query = [("noprune", "true".to_owned())];
        self.call(Method::DELETE, &path, &query, "remove the image")
            .await
    }

    pub(super) async fn info(&self) -> Result<SystemInfo, DockerError> {
        let operation = "read the namespace of the images";
        self.call(Method::GET, "/info", &[], operation).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, String)],
        operation: &'static str,
    ) -> Result<T, DockerError> {
        let path = with_query(path, query);
        let within = Duration::from_secs(TIMEOUT);
        let answer = self.address.request(method, &path, within).await?;
        if (200..300).contains(&answer.status) {
            let parsed = serde_json::from_slice(&answer.body);
            return parsed.map_err(|source| DockerError::Form { operation, source });
        }
        let message = match serde_json::from_slice(&answer.body) {
            Ok(ErrorResponse { message }) => message,
            Err(_) => String::from_utf8_lossy(&answer.body).trim().to_owned(),
        };
        Err(DockerError::Refused {
            operation,
            status: answer.status,
            message,
        })
    }
}

fn with_query(path: &str, query: &[(&str, String)]) -> String {
    if query.is_empty() {
        return path.to_owned();
    }
    let mut parameters = form_urlencoded::Serializer::new(String::new());
    format!("{path}?{}", parameters.extend_pairs(query).finish())
}

/// Returns the parameter `filters`.
fn filters(filters: &[(&str, &[String])]) -> (&'static str, String) {
    let filters: serde_json::Map<_, _> = filters
        .iter()
        .map(|(key, values)| ((*key).to_owned(), serde_json::Value::from(*values)))
        .collect();
    ("filters", serde_json::Value::Object(filters).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_ends_the_path() {
        let name = "registry.example:5000/team/app:1@sha256:ab";
        assert_eq!(utf8_percent_encode(name, IN_PATHS).to_string(), name);
        let name = utf8_percent_encode("a?b#c d%2F", IN_PATHS).to_string();
        assert_eq!(name, "a%3Fb%23c%20d%252F");
    }

    #[test]
    fn encodes_filters_as_json() {
        let labels = ["a=\"&b\"".to_owned(), "c".to_owned()];
        let query = [("all", "true".to_owned()), filters(&[("label", &labels)])];
        let expected =
            "/x?all=true&filters=%7B%22label%22%3A%5B%22a%3D%5C%22%26b%5C%22%22%2C%22c%22%5D%7D";
        assert_eq!(with_query("/x", &query), expected);
        assert_eq!(with_query("/x", &[]), "/x");
    }
}
