//! Anonymous tokens, which public repositories of some registries require.
//!
//! Source: distribution's `docs/content/spec/auth/token.md`.

use http::HeaderValue;
use serde::Deserialize;

/// What a registry demands in `WWW-Authenticate`, if it is a bearer token.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Challenge {
    realm: String,
    service: Option<String>,
}

impl Challenge {
    /// Parses the value of the header; `None` if it demands anything else.
    pub(crate) fn parse(header: &str) -> Option<Self> {
        let (scheme, mut rest) = header.trim().split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let (mut realm, mut service) = (None, None);
        while let Some((key, value)) = rest.split_once('=') {
            let value = value.trim_start();
            let (value, after) = match value.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"')?,
                None => value.split_at(value.find(',').unwrap_or(value.len())),
            };
            match key.trim().to_ascii_lowercase().as_str() {
                "realm" => realm = Some(value.to_owned()),
                "service" => service = Some(value.to_owned()),
                _ => {}
            }
            rest = after.trim_start().trim_start_matches(',');
        }
        Some(Self {
            realm: realm?,
            service,
        })
    }

    /// Returns the address that gives a token to pull from a repository. The scope is that of the
    /// repository, whatever the registry demands.
    pub(crate) fn address(&self, path: &str) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        if let Some(service) = &self.service {
            query.append_pair("service", service);
        }
        query.append_pair("scope", &format!("repository:{path}:pull"));
        let separator = if self.realm.contains('?') { '&' } else { '?' };
        format!("{}{separator}{}", self.realm, query.finish())
    }
}

/// Returns the header with the token of an answer.
pub(crate) fn bearer(body: &[u8]) -> Option<HeaderValue> {
    #[derive(Deserialize)]
    struct Answer {
        token: Option<String>,
        access_token: Option<String>,
    }
    let Answer {
        token,
        access_token,
    } = serde_json::from_slice(body).ok()?;
    let token = token.or(access_token).filter(|token| !token.is_empty())?;
    let mut header = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
    header.set_sensitive(true);
    Some(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demands_of_registries() {
        let hub = "Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\",\
                   scope=\"repository:library/other:pull,push\"";
        let challenge = Challenge::parse(hub).unwrap();
        assert_eq!(
            challenge.address("library/app"),
            "https://auth.docker.io/token?service=registry.docker.io&scope=repository%3Alibrary%2Fapp%3Apull"
        );
        let short = Challenge::parse("bearer scope=x, realm=https://a.example/t?v=1").unwrap();
        assert_eq!(
            short.address("app"),
            "https://a.example/t?v=1&scope=repository%3Aapp%3Apull"
        );
        for other in [
            "",
            "Bearer",
            "Bearer service=\"x\"",
            "Bearer realm=\"https://a.example",
            "Basic realm=\"Registry\"",
        ] {
            assert_eq!(Challenge::parse(other), None, "{other}");
        }
    }

    #[test]
    fn tokens_of_answers() {
        for body in [
            r#"{"token":"x","access_token":"y"}"#,
            r#"{"access_token":"x"}"#,
        ] {
            assert_eq!(bearer(body.as_bytes()).unwrap(), "Bearer x");
        }
        for body in [
            "",
            "{}",
            r#"{"token":""}"#,
            r#"{"token":"a\nb"}"#,
            r#"{"token":1}"#,
        ] {
            assert_eq!(bearer(body.as_bytes()), None, "{body}");
        }
    }
}
