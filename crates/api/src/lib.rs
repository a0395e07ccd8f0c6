//! The counters: Docker's Engine API and our own gRPC API. They translate and decide nothing.

#![recursion_limit = "256"]

pub mod docker;
pub mod grpc;
pub mod health;
pub mod json;
pub mod listen;
pub mod metrics;
mod plans;
pub mod service;
