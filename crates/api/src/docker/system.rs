//! `/_ping`, `/version` and `/info`.
//!
//! Source: moby, `daemon/server/router/system/`.

use std::fs;
use std::num::NonZero;
use std::thread;

use axum::response::Response;
use http::{HeaderName, HeaderValue, StatusCode};
use reclaim_engine::{Shared, blocking};
use reclaim_model::{ContainerState, Platform};
use rustix::system::{sysinfo, uname};
use serde_json::{Value, json};

use super::api::DockerApi;
use super::error::ApiError;
use super::inspect::snapshotter;
use super::respond;
use super::version::{NEWEST, OLDEST};

/// The version of Reclaim.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The files with the name of the distribution.
const OS_RELEASE: [&str; 2] = ["/etc/os-release", "/usr/lib/os-release"];

/// The headers of a ping.
const PING: [(&str, &str); 4] = [
    ("builder-version", "2"),
    ("cache-control", "no-cache, no-store, must-revalidate"),
    ("pragma", "no-cache"),
    ("swarm", "inactive"),
];

pub(super) fn ping() -> Response {
    let mut response = respond::text(StatusCode::OK, "OK");
    for (name, value) in PING {
        let name = HeaderName::from_static(name);
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

pub(super) fn version(api: &DockerApi) -> Response {
    let kernel = kernel();
    let body = json!({
        "Platform": {"Name": "Reclaim"},
        "Components": [
            {
                "Name": "Engine",
                "Version": VERSION,
                "Details": {
                    "ApiVersion": NEWEST,
                    "Arch": Platform::host().architecture,
                    "BuildTime": "",
                    "Experimental": "false",
                    "GitCommit": "",
                    "GoVersion": "",
                    "KernelVersion": kernel,
                    "MinAPIVersion": OLDEST,
                    "Os": "linux",
                },
            },
            {
                "Name": "containerd",
                "Version": &*api.engine().containerd_version(),
                "Details": {"GitCommit": ""},
            },
        ],
        "Version": VERSION,
        "ApiVersion": NEWEST,
        "MinAPIVersion": OLDEST,
        "GitCommit": "",
        "GoVersion": "",
        "Os": "linux",
        "Arch": Platform::host().architecture,
        "KernelVersion": kernel,
        "BuildTime": "",
    });
    respond::json(StatusCode::OK, &body)
}

pub(super) async fn info(api: &DockerApi) -> Result<Response, ApiError> {
    let listing = Shared::new(api.engine().listing(api.namespace()).await?);
    let count = |states: &[ContainerState]| {
        let containers = listing.containers.iter();
        containers
            .filter(|container| states.contains(&container.state))
            .count()
    };
    let mut body = blocking(machine).await;
    let running = count(&[ContainerState::Running, ContainerState::Unknown]);
    for (key, value) in [
        ("Containers", json!(listing.containers.len())),
        ("ContainersRunning", json!(running)),
        ("ContainersPaused", json!(0)),
        (
            "ContainersStopped",
            json!(count(&[ContainerState::Stopped])),
        ),
        ("Images", json!(listing.details.images.len())),
        ("Driver", json!(snapshotter(&listing))),
        (
            "DriverStatus",
            json!([["driver-type", "io.containerd.snapshotter.v1"]]),
        ),
        ("SystemTime", json!(reclaim_engine::now().to_string())),
        (
            "Containerd",
            json!({
                "Address": "",
                "Namespaces": {"Containers": api.namespace().as_str(), "Plugins": ""},
            }),
        ),
        // Clients show it as containerd's version.
        (
            "ContainerdCommit",
            json!({"ID": &*api.engine().containerd_version()}),
        ),
        ("Warnings", json!(warnings(&listing.unreadable))),
    ] {
        body[key] = value;
    }
    Ok(respond::json(StatusCode::OK, &body))
}

/// Returns the warnings as Docker's client prints them: each begins with `WARNING: `.
fn warnings(unreadable: &[String]) -> Option<Vec<String>> {
    let warnings: Vec<String> = unreadable
        .iter()
        .map(|error| {
            format!("WARNING: cannot list containers; pruning nothing until then: {error}")
        })
        .collect();
    (!warnings.is_empty()).then_some(warnings)
}

/// Returns the parts that do not change while the machine runs. What only an engine that runs
/// containers has is off or empty.
fn machine() -> Value {
    let name = uname();
    let system = sysinfo();
    let memory = u64::from(system.mem_unit).saturating_mul(system.totalram);
    json!({
        "ID": "",
        "Plugins": {"Volume": [], "Network": [], "Authorization": null, "Log": []},
        "MemoryLimit": false,
        "SwapLimit": false,
        "CpuCfsPeriod": false,
        "CpuCfsQuota": false,
        "CPUShares": false,
        "CPUSet": false,
        "PidsLimit": false,
        "IPv4Forwarding": true,
        "Debug": false,
        "NFd": 0,
        "OomKillDisable": false,
        "NGoroutines": 0,
        "LoggingDriver": "",
        "CgroupDriver": "none",
        "NEventsListener": 0,
        "KernelVersion": kernel(),
        "OperatingSystem": operating_system(),
        "OSVersion": "",
        "OSType": "linux",
        "Architecture": name.machine().to_string_lossy(),
        "IndexServerAddress": "",
        "RegistryConfig": null,
        "NCPU": thread::available_parallelism().map_or(1, NonZero::get),
        "MemTotal": memory,
        "GenericResources": null,
        "DockerRootDir": "",
        "HttpProxy": "",
        "HttpsProxy": "",
        "NoProxy": "",
        "Name": name.nodename().to_string_lossy(),
        "Labels": [],
        "ExperimentalBuild": false,
        "ServerVersion": VERSION,
        "Runtimes": {},
        "DefaultRuntime": "",
        "Swarm": {
            "NodeID": "",
            "NodeAddr": "",
            "LocalNodeState": "inactive",
            "ControlAvailable": false,
            "Error": "",
            "RemoteManagers": null,
        },
        "LiveRestoreEnabled": false,
        "Isolation": "",
        "InitBinary": "",
        "ContainerdCommit": {"ID": ""},
        "RuncCommit": {"ID": ""},
        "InitCommit": {"ID": ""},
        "SecurityOptions": [],
        "CDISpecDirs": [],
    })
}

fn kernel() -> String {
    uname().release().to_string_lossy().into_owned()
}

/// Returns the name of the distribution.
fn operating_system() -> String {
    let text = OS_RELEASE
        .iter()
        .find_map(|path| fs::read_to_string(path).ok())
        .unwrap_or_default();
    let name = text
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or("Linux", |name| name.trim_matches('"'))
        .to_owned()
}
