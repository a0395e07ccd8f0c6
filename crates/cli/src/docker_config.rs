//! The credentials in the caller's Docker configuration, as `docker login` writes them.

use std::collections::BTreeMap;
use std::env;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reclaim_engine::read_text;
use reclaim_model::RegistryCredentials;
use serde::Deserialize;

/// The registry of `docker.io` in Docker's configuration.
const HUB_ADDRESSES: [&str; 2] = ["index.docker.io", "registry-1.docker.io"];

/// Docker's configuration, as far as it is used. It has no `Debug`, because it has secrets.
#[derive(Default, Deserialize)]
pub(crate) struct DockerConfig {
    #[serde(default)]
    auths: BTreeMap<String, Auth>,
    #[serde(default, rename = "credsStore")]
    store: Option<String>,
    #[serde(default, rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
struct Auth {
    #[serde(default, rename = "auth")]
    encoded: Option<String>,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    password: Option<String>,
    #[serde(default, rename = "identitytoken")]
    identity_token: Option<String>,
}

/// What the configuration has for a registry.
pub(crate) enum Login {
    /// Credentials.
    Credentials(RegistryCredentials),
    /// Credentials that cannot be used: why.
    Unusable(String),
    /// Nothing.
    None,
}

impl DockerConfig {
    /// Reads the configuration of the caller; that of one without a file is empty.
    ///
    /// # Errors
    ///
    /// Why it cannot be read.
    pub(crate) fn read() -> Result<Self, String> {
        path().map_or_else(|| Ok(Self::default()), |path| Self::read_at(&path))
    }

    fn read_at(path: &Path) -> Result<Self, String> {
        let failed = |why: String| format!("cannot read `{}`: {why}", path.display());
        match read_text(path) {
            // The error of the parser could quote a secret.
            Ok(text) => serde_json::from_str(&text).map_err(|error| {
                let (line, column) = (error.line(), error.column());
                failed(format!(
                    "it has another form at line {line}, column {column}"
                ))
            }),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(failed(error.to_string())),
        }
    }

    /// Returns what it has for a registry, such as `docker.io` or `registry.example:5000`.
    pub(crate) fn login(&self, registry: &str) -> Login {
        let mut helpers = self.helpers.iter();
        let helper = helpers.find(|(address, _)| is_address_of(address, registry));
        if let Some(helper) = helper.map(|(_, helper)| helper) {
            return unusable_helper(helper);
        }
        let mut auths = self.auths.iter();
        let auth = auths.find(|(address, _)| is_address_of(address, registry));
        match auth.map(|(_, auth)| auth.credentials()) {
            Some(Ok(Some(credentials))) => Login::Credentials(credentials),
            Some(Err(why)) => Login::Unusable(why),
            // With a store, the entry is empty.
            Some(Ok(None)) | None => self.store.as_deref().map_or(Login::None, unusable_helper),
        }
    }
}

fn unusable_helper(helper: &str) -> Login {
    Login::Unusable(format!(
        "Docker's configuration keeps them in the helper `docker-credential-{helper}`, a program \
         that is not run"
    ))
}

impl Auth {
    fn credentials(&self) -> Result<Option<RegistryCredentials>, String> {
        if self
            .identity_token
            .as_ref()
            .is_some_and(|it| !it.is_empty())
        {
            return Err(
                "Docker's configuration has an identity token, which is not used".to_owned(),
            );
        }
        let encoded = self.encoded.as_deref().filter(|auth| !auth.is_empty());
        if let Some(encoded) = encoded {
            let decoded = BASE64_STANDARD.decode(encoded.trim()).ok();
            let text = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
            let pair = text.as_deref().and_then(|text| text.split_once(':'));
            let (user, password) = pair.ok_or(
                "`auth` in Docker's configuration is not base64 of \
                 USER:PASSWORD",
            )?;
            return Ok(Some(RegistryCredentials {
                user: user.to_owned(),
                // Docker pads it with zero bytes.
                password: password.trim_end_matches('\0').to_owned(),
            }));
        }
        Ok(match (&self.username, &self.password) {
            (Some(user), Some(password)) => Some(RegistryCredentials {
                user: user.clone(),
                password: password.clone(),
            }),
            _ => None,
        })
    }
}

/// Whether an address of Docker's configuration, such as `https://index.docker.io/v1/`, is that of a
/// registry.
fn is_address_of(address: &str, registry: &str) -> bool {
    let without_scheme = address.split_once("://").map_or(address, |(_, rest)| rest);
    let host = without_scheme.split('/').next().unwrap_or_default();
    host == registry || (registry == "docker.io" && HUB_ADDRESSES.contains(&host))
}

fn path() -> Option<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty());
    let directory = set("DOCKER_CONFIG").map(PathBuf::from);
    let directory = directory.or_else(|| Some(PathBuf::from(set("HOME")?).join(".docker")))?;
    Some(directory.join("config.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(config: &str, registry: &str) -> String {
        let config: DockerConfig = serde_json::from_str(config).unwrap();
        match config.login(registry) {
            Login::Credentials(RegistryCredentials { user, password }) => {
                format!("{user}:{password}")
            }
            Login::Unusable(why) => format!("unusable: {why}"),
            Login::None => "none".to_owned(),
        }
    }

    #[test]
    fn credentials_of_a_login() {
        // `printf me:pass:word | base64`
        let config = r#"{"auths":{"https://index.docker.io/v1/":{"auth":"bWU6cGFzczp3b3Jk"},
            "r.example:5000":{"username":"you","password":"p"},"https://s.example/v2/":{}},
            "other":1}"#;
        assert_eq!(login(config, "docker.io"), "me:pass:word");
        assert_eq!(login(config, "r.example:5000"), "you:p");
        for registry in ["r.example", "s.example", "t.example"] {
            assert_eq!(login(config, registry), "none");
        }
    }

    #[test]
    fn what_is_not_used_is_named() {
        let helpers = r#"{"auths":{"a.example":{}},"credsStore":"pass",
            "credHelpers":{"b.example":"ecr-login"}}"#;
        assert!(login(helpers, "a.example").contains("docker-credential-pass"));
        assert!(login(helpers, "b.example").contains("docker-credential-ecr-login"));
        let token = r#"{"auths":{"a.example":{"auth":"bWU6eA==","identitytoken":"t"}}}"#;
        assert!(login(token, "a.example").contains("identity token"));
        let broken = r#"{"auths":{"a.example":{"auth":"%%"}}}"#;
        assert!(login(broken, "a.example").contains("not base64"));
    }

    #[test]
    fn no_error_quotes_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.json");
        assert!(DockerConfig::read_at(&path).is_ok_and(|config| config.auths.is_empty()));
        std::fs::write(&path, r#"{"auths":"secret"}"#).unwrap();
        let error = DockerConfig::read_at(&path).err().unwrap();
        assert!(
            error.contains("config.json") && !error.contains("secret"),
            "{error}"
        );
    }
}
