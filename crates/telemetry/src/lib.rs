//! Sends spans to an OpenTelemetry collector, by OTLP over gRPC.
//!
//! Without the feature `otel` the crate has the same types, and [`Spans::connect`] fails.

#[cfg(not(feature = "otel"))]
mod absent;
#[cfg(feature = "otel")]
mod exporter;

use std::error::Error;

#[cfg(not(feature = "otel"))]
pub use absent::Spans;
#[cfg(feature = "otel")]
pub use exporter::Spans;

/// Why spans cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The program has no exporter.
    #[error("reclaim was built without the `otel` feature")]
    NotBuilt,
    /// The exporter refuses the address.
    #[error(transparent)]
    Endpoint(Box<dyn Error + Send + Sync>),
    /// The collector did not take the remaining spans.
    #[error(transparent)]
    Shutdown(Box<dyn Error + Send + Sync>),
}
