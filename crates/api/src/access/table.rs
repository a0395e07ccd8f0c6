//! Every method of every API, and the role that it needs.

use super::Role;
use crate::{docker, grpc, json};

/// An API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Api {
    /// JSON over HTTP.
    Json,
    /// gRPC.
    Grpc,
    /// Docker's Engine API.
    Docker,
}

/// A method of an API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Method {
    /// The API.
    pub api: Api,
    /// The method of HTTP.
    pub http: http::Method,
    /// The path. Names in it are examples.
    pub path: String,
    /// The role that it needs; `None` if everyone may request it.
    pub role: Option<Role>,
}

/// Returns every method of every API. Health checks over HTTP are not part of an API.
pub fn methods() -> Vec<Method> {
    let json = json::methods()
        .into_iter()
        .map(|(http, path, role)| Method {
            api: Api::Json,
            http,
            path: format!("{}{}", json::ROOT, path.replace("{plan}", "x")),
            role: Some(role),
        });
    let grpc = grpc::ROLES.iter().map(|(path, role)| Method {
        api: Api::Grpc,
        http: http::Method::POST,
        path: (*path).to_owned(),
        role: *role,
    });
    let docker = docker::REQUESTS.iter().map(|(http, path, role)| Method {
        api: Api::Docker,
        http: http.clone(),
        path: (*path).to_owned(),
        role: *role,
    });
    json.chain(grpc).chain(docker).collect()
}
