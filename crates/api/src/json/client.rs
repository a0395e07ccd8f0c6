//! The client of the JSON API: what the command uses with `--host`.

use std::path::PathBuf;

use bytes::Bytes;
use form_urlencoded::Serializer;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use reclaim_engine::{ProgressSink, RunOptions, Undone};
use reclaim_maintenance::{PolicyForecast, PolicyRun, RunRecord};
use reclaim_model::{
    Answers, AuditQuery, AuditRecords, DiskUsage, HeldRuns, ImageList, Mode, Namespace, PinRequest,
    Pins, PolicyName, ProjectList, PruneRequest, Report, Separator, StoreMap, UsageByColumn,
    VERSION, Versioned,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::form::{
    Failed, Images, Options, PolicyForecasts, PolicyHistory, PolicyRunLine, Release, Released,
    RunLine, RunPolicies, RunRequest, Undo,
};
use super::{ErrorForm, ROOT};
use crate::service::{ErrorKind, Planned};

/// Why a call to a daemon failed.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The address has an unknown form.
    #[error("`{0}` is not the address of a daemon; accepted is unix:///PATH")]
    Address(String),
    /// No daemon listens there.
    #[error("connect to the daemon at {address}")]
    Connect {
        /// The address of the daemon.
        address: String,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The connection broke.
    #[error("exchange with the daemon at {address}")]
    Exchange {
        /// The address of the daemon.
        address: String,
        /// What broke.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The daemon answered with an error.
    #[error("{message}")]
    Refused {
        /// Its class.
        kind: ErrorKind,
        /// Its text, causes included.
        message: String,
        /// What occupies the disk, where less can be freed than was requested.
        usage: Option<Box<UsageByColumn>>,
    },
    /// The daemon answered something else.
    #[error("the daemon at {address} answered {status} without an error of ours; is it older?")]
    Unknown {
        /// The address of the daemon.
        address: String,
        /// The status of the answer.
        status: StatusCode,
    },
    /// The answer cannot be read: the daemon is of another version.
    #[error("read the answer of the daemon, which may be of another version")]
    Answer(#[source] serde_json::Error),
    /// The answer is of another version of the form.
    #[error("the daemon answers in version {0} of the form; accepted is {VERSION}")]
    Version(u32),
    /// The daemon went away in the middle of an answer.
    #[error("the answer of the daemon ends too early")]
    CutShort,
}

impl From<ErrorForm> for HostError {
    fn from(error: ErrorForm) -> Self {
        let ErrorForm {
            kind,
            message,
            usage,
        } = error;
        Self::Refused {
            kind,
            message,
            usage,
        }
    }
}

/// A daemon, by its address. Each request has a connection of its own.
#[derive(Debug, Clone)]
pub struct HostClient {
    address: String,
    path: PathBuf,
}

/// Runs of policies, each when it has ended.
#[derive(Debug)]
pub struct HostRuns {
    lines: Lines,
}

impl HostClient {
    /// Returns a client of the daemon at `address`, which is `unix:///` and a path. It connects with
    /// the first request.
    ///
    /// # Errors
    ///
    /// [`HostError::Address`].
    pub fn new(address: &str) -> Result<Self, HostError> {
        let path = address.strip_prefix("unix://").map(PathBuf::from);
        let path = path.filter(|path| path.is_absolute());
        Ok(Self {
            path: path.ok_or_else(|| HostError::Address(address.to_owned()))?,
            address: address.to_owned(),
        })
    }

    /// Plans a prune.
    ///
    /// # Errors
    ///
    /// [`HostError`], as for every request.
    pub async fn plan(&self, request: &PruneRequest) -> Result<Planned, HostError> {
        self.post("/plan", request).await
    }

    /// Prunes. The run may go on after an error of the connection.
    ///
    /// # Errors
    ///
    /// As [`Self::plan`].
    pub async fn prune(
        &self,
        request: &PruneRequest,
        options: &RunOptions,
        progress: &ProgressSink<'_>,
    ) -> Result<Report, HostError> {
        let run = RunRequest {
            request: request.clone(),
            options: options.into(),
        };
        report(self.lines("/prune", &run).await?, progress).await
    }

    /// Applies a plan. The run may go on after an error of the connection.
    ///
    /// # Errors
    ///
    /// As [`Self::plan`].
    pub async fn apply(
        &self,
        plan: &str,
        options: &RunOptions,
        progress: &ProgressSink<'_>,
    ) -> Result<Report, HostError> {
        let path = format!("/plans/{plan}/apply");
        report(self.lines(&path, &Options::from(options)).await?, progress).await
    }

    /// Lists the images of a namespace.
    ///
    /// # Errors
    ///
    /// As [`Self::plan`].
    pub async fn images(
        &self,
        namespace: &Namespace,
        may_lack_namespace: bool,
    ) -> Result<ImageList, HostError> {
        let query = in_namespace(namespace, may_lack_namespace);
        let Images { observed_at, list } = self.get(&format!("/images?{query}")).await?;
        Ok(ImageList {
            observed_at,
            ..list
        })
    }

    /// Lists the projects of a namespace.
    ///
    /// # Errors
    ///
    /// As [`Self::plan`].
    pub async fn projects(
        &self,
        namespace: &Namespace,
        may_lack_namespace: bool,
        separator: Separator,
    ) -> Result<ProjectList, HostError> {
        let mut query = in_namespace(namespace, may_lack_namespace);
        // An older daemon refuses the parameter, instead of ignoring it.
        if separator == Separator::of_compatibility(true) {
            query.push_str("&compatibility=true");
        }
        self.get(&format!("/projects?{query}")).await
    }

    /// Returns what occupies the disk.
    ///
    /// # Errors
    ///
    /// As [`Self::plan`].
    pub async fn disk_usage(&self) -> Result<DiskUsage, HostError> {
        self.get("/df").await
    }

    /// Returns every blob and snapshot, with the images that keep it.
    ///
    /// # Errors
    ///
    /// As [`Self::plan`].
    pub async fn store_map(&self) -> Result<StoreMap, HostError> {
        self.get("/map").await
    }

    /// Returns the page that shows what occupies the disk.
    ///
    /// # Errors
    ///
    /// As [`Self::plan`].
    pub async fn page(&self) -> Result<String, HostError> {
        let body = self.send(Method::GET, "/page", Bytes::new()).await?;
        let page = self.whole(body).await?;
        Ok(String::from_utf8_lossy(&page).into_owned())
    }

    /// Returns what uses a thing.
    ///
    /// # Errors
    ///
    /// As [`Self::plan`].
    pub async fn why(&self, namespace: &Namespace, thing: &str) -> Result<Answers, HostError> {
        let query = query([("namespace", namespace.as_str()), ("thing", thing)]);
        self.get(&format!("/why?{query}")).await
    }

    /// Lists the runs whose images are held.
    ///
    /// # Errors
    ///
    /// As [`Self::plan`].
    pub async fn history(&self, namespace: &Namespace) -> Result<HeldRuns, HostError> {
        let query = query([("namespace", namespace.as_str())]);
        self.get(&format!("/history?{query}")).await
    }

    /// Returns the records of changes that a query asks for.
    ///
    /// # Errors
    ///
    /// As [`Self::plan`].
    pub async fn audit(&self, asked: &AuditQuery) -> Result<AuditRecords, HostError> {
        let AuditQuery {
            namespace,
            since,
            until,
        } = asked;
        let parts = [
            ("namespace", namespace.as_ref().map(Namespace::as_str)),
            ("since", since.as_deref()),
            ("until", until.as_deref()),
        ];
        let mut query = Serializer::new(String::new());
        for (key, value) in parts {
            if let Some(value) = value {
                query.append_pair(key, value);
            }
        }
        self.get(&format!("/history/all?{}", query.finish())).await
    }

    /// Restores what a run removed.
    ///
    /// # Errors
    ///
    /// As [`Self::plan`].
    pub async fn undo(&self, undo: &Undo) -> Result<Undone, HostError> {
        self.post("/undo", undo).await
    }

    /// Pins images, or unpins them.
    ///
    /// # Errors
    ///
    /// As [`Self::plan`].
    pub async fn pin(&self, request: &PinRequest) -> Result<Pins, HostError> {
        self.post("/pins", request).await
    }

    /// Frees what a run holds. Returns its ID.
    ///
    /// # Errors
    ///
    /// As [`Self::plan`].
    pub async fn release(&self, namespace: &Namespace, run: &str) -> Result<String, HostError> {
        let release = Release {
            namespace: Some(namespace.clone()),
            run: Some(run.to_owned()),
        };
        let Released { run } = self.post("/release", &release).await?;
        Ok(run.to_string())
    }

    /// Runs policies, those of these names or all. With [`Mode::DryRun`] nothing is changed;
    /// otherwise each run is as its policy says.
    ///
    /// # Errors
    ///
    /// As [`Self::plan`].
    pub async fn run_policies(
        &self,
        names: &[PolicyName],
        mode: Mode,
    ) -> Result<HostRuns, HostError> {
        let request = RunPolicies {
            names: names.to_vec(),
            dry_run: mode == Mode::DryRun,
        };
        let lines = self.lines("/policies/run", &request).await?;
        Ok(HostRuns { lines })
    }

    /// Returns what policies would do now, those of these names or all.
    ///
    /// # Errors
    ///
    /// As [`Self::plan`].
    pub async fn explain_policies(
        &self,
        names: &[PolicyName],
    ) -> Result<Vec<PolicyForecast>, HostError> {
        let path = format!("/policies?{}", of_names(names));
        let PolicyForecasts { policies } = self.get(&path).await?;
        Ok(policies)
    }

    /// Lists the runs of policies, oldest first: those of these names or all.
    ///
    /// # Errors
    ///
    /// As [`Self::plan`].
    pub async fn policy_history(&self, names: &[PolicyName]) -> Result<Vec<RunRecord>, HostError> {
        let path = format!("/policies/history?{}", of_names(names));
        let PolicyHistory { runs } = self.get(&path).await?;
        Ok(runs)
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, HostError> {
        self.read(self.send(Method::GET, path, Bytes::new()).await?)
            .await
    }

    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, HostError> {
        let body = serde_json::to_vec(body).map_err(HostError::Answer)?;
        self.read(self.send(Method::POST, path, body.into()).await?)
            .await
    }

    async fn lines(&self, path: &str, body: &impl Serialize) -> Result<Lines, HostError> {
        let body = serde_json::to_vec(body).map_err(HostError::Answer)?;
        let body = self.send(Method::POST, path, body.into()).await?;
        Ok(Lines {
            address: self.address.clone(),
            body,
            read: Vec::new(),
        })
    }

    async fn read<T: DeserializeOwned>(&self, body: Incoming) -> Result<T, HostError> {
        let answer: Versioned<T> =
            serde_json::from_slice(&self.whole(body).await?).map_err(HostError::Answer)?;
        if answer.version == VERSION {
            Ok(answer.value)
        } else {
            Err(HostError::Version(answer.version))
        }
    }

    async fn whole(&self, body: Incoming) -> Result<Bytes, HostError> {
        let body = body.collect().await.map_err(|error| self.broken(error))?;
        Ok(body.to_bytes())
    }

    /// Sends a request, and returns the body of the answer if that is no error.
    async fn send(&self, method: Method, path: &str, body: Bytes) -> Result<Incoming, HostError> {
        let connected = UnixStream::connect(&self.path).await;
        let stream = connected.map_err(|source| HostError::Connect {
            address: self.address.clone(),
            source,
        })?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.broken(error))?;
        // It ends with the body of the answer. What goes wrong is the error of the exchange, too.
        tokio::spawn(async move { drop(connection.await) });
        let request = Request::builder()
            .method(method)
            .uri(format!("{ROOT}{path}"))
            .header(http::header::HOST, "reclaim")
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| self.broken(error))?;
        let answer = sender.send_request(request).await;
        let (parts, body) = answer.map_err(|error| self.broken(error))?.into_parts();
        if parts.status.is_success() {
            return Ok(body);
        }
        let body = body.collect().await.map_err(|error| self.broken(error))?;
        match serde_json::from_slice(&body.to_bytes()) {
            Ok(Failed { error }) => Err(error.into()),
            Err(_) => Err(HostError::Unknown {
                address: self.address.clone(),
                status: parts.status,
            }),
        }
    }

    fn broken(&self, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> HostError {
        HostError::Exchange {
            address: self.address.clone(),
            source: error.into(),
        }
    }
}

impl HostRuns {
    /// Waits for the end of the next run; `None` when all have ended.
    ///
    /// # Errors
    ///
    /// If the daemon goes away, or stops before all have run.
    pub async fn next(&mut self) -> Result<Option<PolicyRun>, HostError> {
        match self.lines.next().await? {
            None => Ok(None),
            Some(PolicyRunLine::Run(run)) => Ok(Some(*run)),
            Some(PolicyRunLine::Error(error)) => Err(error.into()),
        }
    }
}

/// An answer that arrives line by line.
#[derive(Debug)]
struct Lines {
    address: String,
    body: Incoming,
    read: Vec<u8>,
}

impl Lines {
    /// Reads the next line; `None` at the end of the answer.
    async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, HostError> {
        // What has been searched already, so that a long line is not searched again and again.
        let mut searched = 0;
        loop {
            if let Some(end) = self.read[searched..].iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=searched + end).collect();
                return serde_json::from_slice(&line)
                    .map(Some)
                    .map_err(HostError::Answer);
            }
            searched = self.read.len();
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.read.extend_from_slice(&data);
                    }
                }
                Some(Err(error)) => {
                    return Err(HostError::Exchange {
                        address: self.address.clone(),
                        source: error.into(),
                    });
                }
                None if self.read.is_empty() => return Ok(None),
                None => return Err(HostError::CutShort),
            }
        }
    }
}

/// Waits for the last line, which is the report.
async fn report(mut lines: Lines, progress: &ProgressSink<'_>) -> Result<Report, HostError> {
    loop {
        match lines.next().await? {
            Some(RunLine::Progress(event)) => progress(event),
            Some(RunLine::Report(report)) => return Ok(*report),
            Some(RunLine::Error(error)) => return Err(error.into()),
            None => return Err(HostError::CutShort),
        }
    }
}

fn query<'q>(pairs: impl IntoIterator<Item = (&'q str, &'q str)>) -> String {
    Serializer::new(String::new()).extend_pairs(pairs).finish()
}

fn in_namespace(namespace: &Namespace, may_lack_namespace: bool) -> String {
    let may_lack = if may_lack_namespace { "true" } else { "false" };
    query([
        ("namespace", namespace.as_str()),
        ("may_lack_namespace", may_lack),
    ])
}

fn of_names(names: &[PolicyName]) -> String {
    query(names.iter().map(|name| ("name", name.as_str())))
}
