//! What a program without the feature `otel` has instead of an exporter.

use std::convert::Infallible;

use tracing_subscriber::layer::Identity;

use crate::TelemetryError;

/// A connection to a collector, which this program cannot have.
#[derive(Debug)]
pub struct Spans(Infallible);

impl Spans {
    /// Fails.
    ///
    /// # Errors
    ///
    /// [`TelemetryError::NotBuilt`]
    pub fn connect(_service: &'static str, _endpoint: &str) -> Result<Self, TelemetryError> {
        Err(TelemetryError::NotBuilt)
    }

    /// Returns the layer of a subscriber that collects the spans.
    pub fn layer(&self) -> Identity {
        match self.0 {}
    }

    /// Sends the remaining spans.
    ///
    /// # Errors
    ///
    /// None, because there is no such value.
    pub fn shutdown(self) -> Result<(), TelemetryError> {
        match self.0 {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connecting_names_the_missing_feature() {
        let error = Spans::connect("reclaim", "http://127.0.0.1:4317").unwrap_err();
        assert!(matches!(error, TelemetryError::NotBuilt));
        assert!(error.to_string().contains("`otel` feature"), "{error}");
    }
}
