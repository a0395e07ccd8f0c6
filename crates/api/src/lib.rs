//! HTTP and gRPC servers: Docker's Engine API, the gRPC API, metrics and health checks.
//!
//! They translate requests and responses; all decisions are the engine's.

#![recursion_limit = "256"]

pub mod access;
mod caller;
pub mod docker;
pub mod grpc;
pub mod health;
pub mod json;
pub mod listen;
pub mod metrics;
pub mod page;
mod plans;
pub mod service;
pub mod ui;
