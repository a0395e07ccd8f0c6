//! Requests to registries: whether one has an image ([`Registries::ask`]), and content by digest
//! ([`Registries::fetch`]).
//!
//! The hosts of a registry, which may be mirrors, are those of containerd's hosts configuration
//! (`hosts`). Whether a registry has an image is one HEAD request for a manifest, without credentials:
//! where a registry requires a token, an anonymous one is requested (`token`), as for a pull of a
//! public image. Only an answer with the digest proves that the image is there, and redirects are not
//! followed. Content is verified, and credentials are sent only if the caller gives them (`fetch`).
//!
//! The only crate that connects to registries.

mod fetch;
mod hosts;
mod token;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Builder;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::TokioExecutor;
use reclaim_model::{LocalMirrors, RegistryAnswer, RegistryImage, chain};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

pub use fetch::{FetchError, FetchLimits};
use hosts::{Host, is_loopback};
use token::Challenge;

/// How long one host may take to answer.
const DEADLINE: Duration = Duration::from_secs(5);

/// How many hosts of one registry are asked.
const MAX_HOSTS: usize = 4;

/// The maximum size of an answer with a token.
const MAX_TOKEN: usize = 64 << 10;

/// The types of manifests and indexes. A registry may have an image in one of them only.
const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
     application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.docker.distribution.manifest.v2+json, */*";

/// Where a registry says which digest it answers with.
const DIGEST: &str = "docker-content-digest";

const USER_AGENT: &str = concat!("reclaim/", env!("CARGO_PKG_VERSION"));

/// The registries of images, by containerd's hosts configuration.
#[derive(Debug, Clone, Default)]
pub struct Registries {
    /// Directories with a directory for each registry.
    roots: Vec<PathBuf>,
    limits: FetchLimits,
}

/// Why a host is not known to have an image.
#[derive(Debug, thiserror::Error)]
enum AskError {
    /// The certificates cannot be used.
    #[error("cannot be asked: {0}")]
    Certificates(String),
    /// The address or the path is not valid.
    #[error("cannot be asked")]
    Address(#[from] http::Error),
    /// The connection fails.
    #[error("cannot be reached")]
    Connection(#[from] legacy::Error),
    /// It answers something else.
    #[error("answered {0}")]
    Status(StatusCode),
    /// It answers 401, and gives no anonymous token.
    #[error("answered 401 Unauthorized and gave no anonymous token: {0}")]
    Token(String),
    /// The answer does not have the digest.
    #[error("answered without the digest of the image")]
    Digest,
    /// It does not answer.
    #[error("did not answer within {DEADLINE:?}")]
    Late,
}

type HttpClient = Client<HttpsConnector<HttpConnector>, Empty<Bytes>>;

impl Registries {
    /// Reads the hosts of each registry from these directories, of which the first that has the
    /// registry counts, as with containerd's `config_path`.
    pub fn new(roots: Vec<PathBuf>) -> Self {
        Self {
            roots,
            limits: FetchLimits::default(),
        }
    }

    /// Returns which of these registries have a mirror on this machine, by the files of hosts, and why.
    /// A file that cannot be read counts as one.
    ///
    /// Blocks.
    pub fn local_mirrors<'r>(
        &self,
        registries: impl IntoIterator<Item = &'r String>,
    ) -> LocalMirrors {
        let registries = registries.into_iter();
        let mirrors = registries.filter_map(|registry| {
            let why = hosts::local_mirror(&self.roots, registry)?;
            Some((registry.clone(), why))
        });
        mirrors.collect()
    }

    /// Asks the hosts of an image's registry, one after the other, until one has the image.
    ///
    /// Takes a bounded time. Cancellation safe.
    pub async fn ask(&self, image: &RegistryImage) -> RegistryAnswer {
        let (roots, registry) = (self.roots.clone(), image.registry.clone());
        let reading = spawn_blocking(move || hosts::hosts(&roots, &registry));
        let hosts = match reading.await {
            Ok(Ok(hosts)) => hosts,
            Ok(Err(error)) => return RegistryAnswer::Unknown(error.to_string()),
            Err(error) => return RegistryAnswer::Unknown(error.to_string()),
        };
        let mut answers = Vec::new();
        for host in hosts.into_iter().take(MAX_HOSTS) {
            let authority = host.authority.clone();
            let asking = timeout(DEADLINE, host.ask(image));
            match asking.await.unwrap_or(Err(AskError::Late)) {
                Ok(()) => return RegistryAnswer::Has,
                Err(error) => answers.push(format!("{authority} {}", chain(&error))),
            }
        }
        RegistryAnswer::Unknown(if answers.is_empty() {
            format!("no host of {} serves pulls", image.registry)
        } else {
            answers.join(", ")
        })
    }
}

impl Host {
    /// Whether this host has an image; `Ok` only if it does.
    async fn ask(self, image: &RegistryImage) -> Result<(), AskError> {
        let client = self.client().await?;
        let RegistryImage {
            registry,
            path,
            digest,
        } = image;
        let manifest = self.address(registry, &format!("{path}/manifests/{digest}"))?;
        let mut response = send(&client, head(&manifest, None)).await?;
        if response.status() == StatusCode::UNAUTHORIZED {
            let token = self.token(&client, path, &response, None).await?;
            response = send(&client, head(&manifest, Some(&token))).await?;
        }
        if response.status() != StatusCode::OK {
            return Err(AskError::Status(response.status()));
        }
        let digest = response.headers().get(DIGEST);
        let digest = digest.and_then(|digest| digest.to_str().ok());
        if digest == Some(&image.digest.to_string()) {
            Ok(())
        } else {
            Err(AskError::Digest)
        }
    }

    /// Returns a client that verifies this host.
    async fn client(&self) -> Result<HttpClient, AskError> {
        let certificates = self.certificates.clone();
        let reading = spawn_blocking(move || tls(&certificates));
        let tls = reading
            .await
            .map_err(|error| AskError::Certificates(error.to_string()))??;
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .build();
        Ok(Client::builder(TokioExecutor::new()).build(connector))
    }

    /// Returns the address of something in a repository, such as `team/app/blobs/sha256:0123`.
    fn address(&self, registry: &str, thing: &str) -> Result<Uri, http::Error> {
        // A mirror has to know of which registry it is one.
        let namespace = if self.is_mirror_of(registry) {
            format!("?ns={registry}")
        } else {
            String::new()
        };
        let prefix = &self.path;
        Uri::builder()
            .scheme(self.scheme.as_str())
            .authority(self.authority.as_str())
            .path_and_query(format!("{prefix}/{thing}{namespace}"))
            .build()
    }

    /// Requests a token to pull from a repository, as the answer demands: an anonymous one, or that of
    /// a user.
    async fn token(
        &self,
        client: &HttpClient,
        path: &str,
        response: &Response<Incoming>,
        user: Option<&HeaderValue>,
    ) -> Result<HeaderValue, AskError> {
        let none = |why: &str| AskError::Token(why.to_owned());
        let challenges = response.headers().get_all(header::WWW_AUTHENTICATE);
        let mut challenges = challenges.iter().filter_map(|value| value.to_str().ok());
        let challenge = challenges.find_map(Challenge::parse);
        let challenge = challenge.ok_or(AskError::Status(StatusCode::UNAUTHORIZED))?;
        let realm: Uri = challenge
            .address(path)
            .parse()
            .map_err(|_| none("its realm is not an address"))?;
        // Otherwise a registry could make this host request addresses that only this host can see.
        let is_own = self.scheme == "http" && realm.host() == Some(self.host());
        if realm.scheme_str() != Some("https") && !is_own {
            return Err(none("its realm is not HTTPS"));
        }
        if user.is_some() && !may_see_credentials(&realm) {
            return Err(none(
                "its realm is not HTTPS, and credentials are not sent to it",
            ));
        }
        let response = send(client, get(&realm, user)).await?;
        if response.status() != StatusCode::OK {
            return Err(none(&format!("its realm answered {}", response.status())));
        }
        let body = Limited::new(response.into_body(), MAX_TOKEN).collect();
        let body = body.await.map_err(|_| none("its realm cannot be read"))?;
        token::bearer(&body.to_bytes()).ok_or_else(|| none("its realm gave none"))
    }
}

async fn send(client: &HttpClient, request: Builder) -> Result<Response<Incoming>, AskError> {
    Ok(client.request(request.body(Empty::new())?).await?)
}

fn head(address: &Uri, authorization: Option<&HeaderValue>) -> Builder {
    get(address, authorization).method(Method::HEAD)
}

fn get(address: &Uri, authorization: Option<&HeaderValue>) -> Builder {
    let request = Request::get(address)
        .header(header::ACCEPT, ACCEPT)
        .header(header::USER_AGENT, USER_AGENT);
    match authorization {
        Some(value) => request.header(header::AUTHORIZATION, value),
        None => request,
    }
}

/// Whether credentials may be sent to an address: by HTTPS, or within this machine.
fn may_see_credentials(address: &Uri) -> bool {
    address.scheme_str() == Some("https") || address.host().is_some_and(is_loopback)
}

/// Returns how to verify a host: by the certificates of the machine, and by those in these files.
fn tls(files: &[PathBuf]) -> Result<ClientConfig, AskError> {
    let mut roots = RootCertStore::empty();
    // A certificate that cannot be read verifies nothing.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    for file in files {
        let failed = |error: &dyn std::fmt::Display| {
            AskError::Certificates(format!("`{}`: {error}", file.display()))
        };
        let certificates = CertificateDer::pem_file_iter(file).map_err(|error| failed(&error))?;
        for certificate in certificates {
            let certificate = certificate.map_err(|error| failed(&error))?;
            roots.add(certificate).map_err(|error| failed(&error))?;
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| AskError::Certificates(error.to_string()))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
