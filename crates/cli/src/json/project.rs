//! The forms of projects and their images.

use reclaim_engine::ProjectUsage;
use reclaim_model::{Amount, Digest, Mode, Namespace};
use serde::Serialize;

use super::named::{NamedJson, of};
use super::{ReportJson, VERSION, render, report_json};
use crate::commands::project::prune::Outcome;
use crate::commands::project::word;

#[derive(Serialize)]
struct OutcomeJson<'a> {
    version: u32,
    project: &'a str,
    rmi: &'static str,
    dry_run: bool,
    engine: &'a str,
    images: Vec<NamedJson<'a>>,
    report: Option<ReportJson<'a>>,
}

/// Renders what came of the images of a project as one object and a newline.
pub(crate) fn outcome(outcome: &Outcome<'_>) -> String {
    let Outcome {
        request,
        mode,
        engine,
        named,
        report,
    } = outcome;
    render(&OutcomeJson {
        version: VERSION,
        project: request.project.name.as_str(),
        rmi: word(request.mode),
        dry_run: *mode == Mode::DryRun,
        engine,
        images: named.iter().map(of).collect(),
        report: report.map(|report| ReportJson {
            // They are told above.
            named: Vec::new(),
            ..report_json(report)
        }),
    })
}

#[derive(Serialize)]
struct ProjectsJson<'a> {
    version: u32,
    namespace: &'a Namespace,
    projects: Vec<ProjectJson<'a>>,
}

#[derive(Serialize)]
struct ProjectJson<'a> {
    project: &'a str,
    services: Vec<&'a str>,
    containers: usize,
    images: Vec<ImageJson<'a>>,
    bytes: u64,
    rmi_local: Amount,
}

#[derive(Serialize)]
struct ImageJson<'a> {
    name: &'a str,
    target: &'a Digest,
    services: Vec<&'a str>,
    content_bytes: u64,
    unpacked_bytes: u64,
    shared_bytes: u64,
}

/// Renders the list of projects as one object and a newline.
pub(crate) fn projects(namespace: &Namespace, projects: &[ProjectUsage]) -> String {
    let projects = projects.iter().map(|usage| ProjectJson {
        project: usage.project.name.as_str(),
        services: usage.project.services.keys().map(String::as_str).collect(),
        containers: usage.containers,
        images: usage
            .images
            .iter()
            .map(|(image, size)| ImageJson {
                name: &image.name,
                target: &image.target,
                services: image.services.iter().map(String::as_str).collect(),
                content_bytes: size.content,
                unpacked_bytes: size.unpacked,
                shared_bytes: size.shared,
            })
            .collect(),
        bytes: usage.bytes(),
        rmi_local: usage.local,
    });
    render(&ProjectsJson {
        version: VERSION,
        namespace,
        projects: projects.collect(),
    })
}
