//! Generators and libraries of gRPC for clients in Python and Go, below the target directory.

use std::path::PathBuf;

use crate::debian::{self, TRIXIE};
use crate::failure::Failure;
use crate::python;
use crate::workspace::Workspace;

/// The generator for Python, which contains protoc and its `.proto` files, and needs the library.
const PYTHON: &str = "grpcio-tools==1.76.0";

/// Go, the generators for it, and what the generated code imports, directly or indirectly.
const GO: [&str; 11] = [
    "golang-1.24-go",
    "golang-1.24-src",
    "golang-github-golang-protobuf-1-5-dev",
    "golang-golang-x-net-dev",
    "golang-golang-x-sys-dev",
    "golang-golang-x-text-dev",
    "golang-google-genproto-dev",
    "golang-google-grpc-dev",
    "golang-google-protobuf-dev",
    "protoc-gen-go",
    "protoc-gen-go-grpc",
];

/// What the clients need.
#[derive(Debug)]
pub(crate) struct Tools {
    /// The value for `PYTHONPATH`.
    pub(crate) python: PathBuf,
    /// The directory with `usr/` of the packages of Go.
    pub(crate) go: PathBuf,
}

/// Fetches what is missing.
pub(crate) fn fetch(workspace: &Workspace) -> Result<Tools, Failure> {
    Ok(Tools {
        python: python::provide(workspace, &[PYTHON])?,
        go: debian::fetch_missing(workspace, &TRIXIE, &GO)?,
    })
}
