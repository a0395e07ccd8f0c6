//! Content of a registry, by digest.
//!
//! A host is not trusted: the content is verified, no more is read than its descriptor says, each wait
//! has a bound, and so has the whole. A redirect to storage is followed without credentials, and only
//! to HTTPS or to the host itself, because a registry could otherwise make this machine request
//! addresses that only this machine can see.
//!
//! Credentials go to the registry itself, not to its mirrors, and over plain HTTP only to a loopback
//! address.

use std::net::IpAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderValue, Response, StatusCode, Uri, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use reclaim_model::{Digest, FetchedPart, RegistryContent, RegistryCredentials, chain};
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::hosts::{self, Host, is_loopback};
use crate::{AskError, HttpClient, MAX_HOSTS, Registries, get, send};

/// How many redirects of one request are followed.
const MAX_REDIRECTS: usize = 5;

/// How often content is requested again from where it was cut off.
const MAX_RESUMPTIONS: usize = 4;

/// The pause before content is requested again.
const PAUSE: Duration = Duration::from_millis(500);

/// How long a host may take.
#[derive(Debug, Clone, Copy)]
pub struct FetchLimits {
    /// The longest time without an answer, or without another part of it.
    pub silence: Duration,
    /// The longest time for content of any length.
    pub base: Duration,
    /// How fast the rest has to arrive, in bytes per second.
    pub rate: u64,
}

impl Default for FetchLimits {
    fn default() -> Self {
        Self {
            silence: Duration::from_secs(30),
            base: Duration::from_secs(5 * 60),
            rate: 32 << 10,
        }
    }
}

impl FetchLimits {
    /// Returns the longest time for content of this length, in bytes, from one host.
    pub fn total(&self, size: u64) -> Duration {
        let transfer = Duration::from_secs(size / self.rate.max(1));
        self.base.saturating_add(transfer)
    }
}

/// Why no host gave the content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The hosts of the registry are not known, or each failed: which, and why.
    #[error("{0}")]
    Failed(String),
    /// As [`Self::Failed`], and a host demands credentials, or refuses those that it got.
    #[error("{0}")]
    Unauthorized(String),
    /// The receiver of the content is gone.
    #[error("the content is no longer needed")]
    Closed,
}

/// Why one host did not give the content.
#[derive(Debug, thiserror::Error)]
enum HostError {
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error("answered {status}{}", if *with_user { " to the given credentials" } else { "" })]
    Unauthorized { status: StatusCode, with_user: bool },
    #[error("demands credentials over plain HTTP, over which they are not sent")]
    PlainHttp,
    #[error("redirects to `{0}`, which is not followed: only HTTPS and the host itself are")]
    Redirect(String),
    #[error("redirects more than {MAX_REDIRECTS} times")]
    Redirects,
    #[error("answered with {got} bytes in place of {expected}")]
    Length { got: u64, expected: u64 },
    #[error("answered with more than the {0} bytes of the content")]
    TooLong(u64),
    #[error("answered with another part of the content than requested")]
    Part,
    #[error("answered with other content: its digest is {0}")]
    Digest(Digest),
    #[error("cut the answer off after {received} of {size} bytes: {why}")]
    Cut {
        received: u64,
        size: u64,
        why: String,
    },
    #[error("did not answer within {0:?}")]
    Late(Duration),
    #[error("took longer than {0:?} for {1} bytes")]
    Slow(Duration, u64),
    #[error("the content is no longer needed")]
    Closed,
}

impl HostError {
    /// Whether the rest may still arrive if it is requested again.
    fn is_cut(&self) -> bool {
        matches!(self, Self::Cut { .. })
    }

    fn is_unauthorized(&self) -> bool {
        match self {
            Self::Unauthorized { .. } | Self::PlainHttp | Self::Ask(AskError::Token(_)) => true,
            Self::Ask(AskError::Status(status)) => *status == StatusCode::UNAUTHORIZED,
            Self::Ask(_)
            | Self::Redirect(_)
            | Self::Redirects
            | Self::Length { .. }
            | Self::TooLong(_)
            | Self::Part
            | Self::Digest(_)
            | Self::Cut { .. }
            | Self::Late(_)
            | Self::Slow(..)
            | Self::Closed => false,
        }
    }
}

impl Registries {
    /// Replaces the limits of fetches: for tests.
    #[doc(hidden)]
    #[must_use]
    pub fn with_limits(self, limits: FetchLimits) -> Self {
        Self { limits, ..self }
    }

    /// Fetches content from the hosts of its registry, one after the other, until one gave all of it.
    ///
    /// Each attempt sends [`FetchedPart::Begin`], and then the bytes. They are verified when this
    /// returns `Ok`, not before.
    ///
    /// Takes a bounded time. Cancellation safe.
    ///
    /// # Errors
    ///
    /// If no host gave the content, or the receiver is dropped.
    pub async fn fetch(
        &self,
        content: &RegistryContent,
        user: Option<&RegistryCredentials>,
        parts: &mpsc::Sender<FetchedPart>,
    ) -> Result<(), FetchError> {
        let (roots, registry) = (self.roots.clone(), content.registry.clone());
        let reading = spawn_blocking(move || hosts::hosts(&roots, &registry));
        let hosts = match reading.await {
            Ok(Ok(hosts)) => hosts,
            Ok(Err(error)) => return Err(FetchError::Failed(error.to_string())),
            Err(error) => return Err(FetchError::Failed(error.to_string())),
        };
        let mut failures = Vec::new();
        let mut is_unauthorized = false;
        for host in hosts.into_iter().take(MAX_HOSTS) {
            let authority = host.authority.clone();
            let user = user.filter(|_| host.is_server);
            let limit = self.limits.total(content.size);
            let fetching = async {
                let mut fetch = Fetch::new(host, content, user, self.limits, parts).await?;
                fetch.all().await
            };
            // Boxed, because several fetches are part of one future.
            let fetched = timeout_at(Instant::now() + limit, Box::pin(fetching)).await;
            match fetched.unwrap_or(Err(HostError::Slow(limit, content.size))) {
                Ok(()) => return Ok(()),
                Err(HostError::Closed) => return Err(FetchError::Closed),
                Err(error) => {
                    is_unauthorized |= error.is_unauthorized();
                    failures.push(format!("{authority} {}", chain(&error)));
                }
            }
        }
        let text = if failures.is_empty() {
            format!("no host of {} serves pulls", content.registry)
        } else {
            failures.join(", ")
        };
        Err(if is_unauthorized {
            FetchError::Unauthorized(text)
        } else {
            FetchError::Failed(text)
        })
    }
}

/// Content on its way from one host.
struct Fetch<'f> {
    host: Host,
    client: HttpClient,
    content: &'f RegistryContent,
    address: Uri,
    /// As the header for Basic authentication.
    user: Option<HeaderValue>,
    /// What the host demanded, once it did.
    authorization: Option<HeaderValue>,
    limits: FetchLimits,
    parts: &'f mpsc::Sender<FetchedPart>,
    received: u64,
    hash: Hash,
}

impl<'f> Fetch<'f> {
    async fn new(
        host: Host,
        content: &'f RegistryContent,
        user: Option<&RegistryCredentials>,
        limits: FetchLimits,
        parts: &'f mpsc::Sender<FetchedPart>,
    ) -> Result<Self, HostError> {
        let client = host.client().await?;
        let kind = if content.is_manifest {
            "manifests"
        } else {
            "blobs"
        };
        let thing = format!("{}/{kind}/{}", content.path, content.digest);
        let address = host.address(&content.registry, &thing);
        Ok(Self {
            address: address.map_err(AskError::from)?,
            host,
            client,
            content,
            user: user.map(basic),
            authorization: None,
            limits,
            parts,
            received: 0,
            hash: Hash::of(&content.digest),
        })
    }

    /// Fetches all of it, and verifies it.
    async fn all(&mut self) -> Result<(), HostError> {
        self.begin().await?;
        let mut resumptions = 0;
        while let Err(error) = self.rest().await {
            if !error.is_cut() || resumptions == MAX_RESUMPTIONS {
                return Err(error);
            }
            resumptions += 1;
            sleep(PAUSE).await;
        }
        let digest = self.hash.clone().finish();
        if digest == self.content.digest {
            Ok(())
        } else {
            Err(HostError::Digest(digest))
        }
    }

    async fn begin(&mut self) -> Result<(), HostError> {
        self.received = 0;
        self.hash = Hash::of(&self.content.digest);
        self.send(FetchedPart::Begin).await
    }

    async fn send(&self, part: FetchedPart) -> Result<(), HostError> {
        let sent = self.parts.send(part).await;
        sent.map_err(|_| HostError::Closed)
    }

    /// Requests what has not been received yet.
    async fn rest(&mut self) -> Result<(), HostError> {
        let response = self.authorized().await?;
        match response.status() {
            StatusCode::OK if self.received > 0 => self.begin().await?,
            StatusCode::OK => {}
            StatusCode::PARTIAL_CONTENT if self.received > 0 => {
                let range = response.headers().get(header::CONTENT_RANGE);
                let range = range.and_then(|range| range.to_str().ok());
                let begin = format!("bytes {}-", self.received);
                if !range.is_some_and(|range| range.starts_with(&begin)) {
                    return Err(HostError::Part);
                }
            }
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                let with_user = self.user.is_some();
                return Err(HostError::Unauthorized { status, with_user });
            }
            status => return Err(AskError::Status(status).into()),
        }
        let size = self.content.size;
        let length = response.headers().get(header::CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if let Some(length) = length
            && length != size - self.received
        {
            let got = self.received.saturating_add(length);
            let expected = size;
            return Err(HostError::Length { got, expected });
        }
        self.body(response.into_body()).await
    }

    async fn body(&mut self, mut body: Incoming) -> Result<(), HostError> {
        let size = self.content.size;
        loop {
            let silence = self.limits.silence;
            let cut = |received: u64, why: String| HostError::Cut {
                received,
                size,
                why,
            };
            let frame = match timeout(silence, body.frame()).await {
                Err(_) => return Err(cut(self.received, format!("silent for {silence:?}"))),
                Ok(Some(Err(error))) => return Err(cut(self.received, chain(&error))),
                Ok(Some(Ok(frame))) => frame,
                Ok(None) if self.received < size => {
                    return Err(cut(self.received, "it ended".to_owned()));
                }
                Ok(None) => return Ok(()),
            };
            let Ok(data) = frame.into_data() else {
                continue;
            };
            let received = self.received.saturating_add(data.len() as u64);
            if received > size {
                return Err(HostError::TooLong(size));
            }
            self.hash.update(&data);
            self.received = received;
            self.send(FetchedPart::Data(data.into())).await?;
        }
    }

    /// Sends the request, with what the host demands to answer it.
    async fn authorized(&mut self) -> Result<Response<Incoming>, HostError> {
        let response = self.redirected().await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        let value = self.demanded(&response).await?;
        self.authorization = Some(value);
        self.redirected().await
    }

    /// Returns the header that the host demands.
    async fn demanded(&self, response: &Response<Incoming>) -> Result<HeaderValue, HostError> {
        let challenges = response.headers().get_all(header::WWW_AUTHENTICATE);
        let challenges = challenges.iter().filter_map(|value| value.to_str().ok());
        let is_basic = |challenge: &str| {
            let scheme = challenge.trim().split(' ').next().unwrap_or_default();
            scheme.eq_ignore_ascii_case("basic")
        };
        if challenges.into_iter().any(is_basic) {
            return match &self.user {
                None => Err(AskError::Status(StatusCode::UNAUTHORIZED).into()),
                Some(_) if self.host.scheme == "http" && !is_loopback(self.host.host()) => {
                    Err(HostError::PlainHttp)
                }
                Some(user) => Ok(user.clone()),
            };
        }
        let token = self.host.token(
            &self.client,
            &self.content.path,
            response,
            self.user.as_ref(),
        );
        let late = |_| HostError::Late(self.limits.silence);
        Ok(timeout(self.limits.silence, token).await.map_err(late)??)
    }

    /// Sends the request, and follows redirects.
    async fn redirected(&self) -> Result<Response<Incoming>, HostError> {
        let mut address = self.address.clone();
        let mut authorization = self.authorization.as_ref();
        for _ in 0..=MAX_REDIRECTS {
            let mut request = get(&address, authorization);
            if self.received > 0 {
                request = request.header(header::RANGE, format!("bytes={}-", self.received));
            }
            let sending = timeout(self.limits.silence, send(&self.client, request));
            let late = |_| HostError::Late(self.limits.silence);
            let response = sending.await.map_err(late)??;
            if !response.status().is_redirection() {
                return Ok(response);
            }
            address = self.target(&address, &response)?;
            // What the host demanded is for the host.
            authorization = None;
        }
        Err(HostError::Redirects)
    }

    /// Returns where a redirect leads, if it may be followed.
    fn target(&self, from: &Uri, response: &Response<Incoming>) -> Result<Uri, HostError> {
        let location = response.headers().get(header::LOCATION);
        let location = location.and_then(|location| location.to_str().ok());
        let Some(location) = location else {
            return Err(AskError::Status(response.status()).into());
        };
        let refused = || HostError::Redirect(location.chars().take(200).collect());
        let absolute = if location.starts_with('/') && !location.starts_with("//") {
            let scheme = from.scheme_str().unwrap_or_default();
            let authority = from.authority().map_or("", |authority| authority.as_str());
            format!("{scheme}://{authority}{location}")
        } else {
            location.to_owned()
        };
        let target: Uri = absolute.parse().map_err(|_| refused())?;
        let host = target.host().ok_or_else(refused)?;
        let is_own = host == self.host.host();
        let is_allowed = match target.scheme_str() {
            Some("https") => is_own || !is_local(host),
            Some("http") => is_own && self.host.scheme == "http",
            _ => false,
        };
        if is_allowed {
            Ok(target)
        } else {
            Err(refused())
        }
    }
}

/// Whether an address can only be one of this machine or its link.
fn is_local(host: &str) -> bool {
    let ip = host.trim_start_matches('[').trim_end_matches(']').parse();
    let is_local_address = match ip {
        Ok(IpAddr::V4(ip)) => ip.is_link_local() || ip.is_unspecified(),
        Ok(IpAddr::V6(ip)) => ip.is_unicast_link_local() || ip.is_unspecified(),
        Err(_) => false,
    };
    is_loopback(host) || is_local_address
}

/// Returns the header for Basic authentication.
fn basic(user: &RegistryCredentials) -> HeaderValue {
    let RegistryCredentials { user, password } = user;
    let encoded = BASE64_STANDARD.encode(format!("{user}:{password}"));
    let mut header =
        HeaderValue::try_from(format!("Basic {encoded}")).expect("base64 is valid in a header");
    header.set_sensitive(true);
    header
}

/// The digest of what was received so far.
#[derive(Debug, Clone)]
enum Hash {
    Sha256(Sha256),
    Sha384(Sha384),
    Sha512(Sha512),
}

impl Hash {
    /// Begins with the algorithm of a digest.
    fn of(digest: &Digest) -> Self {
        match digest {
            Digest::Sha256(_) => Self::Sha256(Sha256::new()),
            Digest::Sha384(_) => Self::Sha384(Sha384::new()),
            Digest::Sha512(_) => Self::Sha512(Sha512::new()),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hash) => hash.update(bytes),
            Self::Sha384(hash) => hash.update(bytes),
            Self::Sha512(hash) => hash.update(bytes),
        }
    }

    fn finish(self) -> Digest {
        match self {
            Self::Sha256(hash) => Digest::Sha256(hash.finalize().into()),
            Self::Sha384(hash) => Digest::Sha384(Box::new(hash.finalize().into())),
            Self::Sha512(hash) => Digest::Sha512(Box::new(hash.finalize().into())),
        }
    }
}
