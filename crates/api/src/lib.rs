//! The counters: Docker's Engine API and our own gRPC API. They translate and decide nothing.
