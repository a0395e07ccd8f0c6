//! The exporter.

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::registry::LookupSpan;

use crate::TelemetryError;

/// A connection to a collector, which spans are sent over in batches.
#[derive(Debug)]
pub struct Spans {
    provider: SdkTracerProvider,
    service: &'static str,
}

impl Spans {
    /// Starts to send the spans of the service `service` to `endpoint`: `http://HOST:PORT`. Needs a
    /// runtime of tokio.
    ///
    /// # Errors
    ///
    /// [`TelemetryError::Endpoint`] if the address is invalid. The collector may be down.
    pub fn connect(service: &'static str, endpoint: &str) -> Result<Self, TelemetryError> {
        let exporter = SpanExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint)
            .build()
            .map_err(|error| TelemetryError::Endpoint(error.into()))?;
        let resource = Resource::builder().with_service_name(service).build();
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource)
            .build();
        Ok(Self { provider, service })
    }

    /// Returns the layer of a subscriber that collects the spans.
    pub fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        let tracer = self.provider.tracer(self.service);
        tracing_opentelemetry::layer().with_tracer(tracer)
    }

    /// Sends the remaining spans.
    ///
    /// # Errors
    ///
    /// [`TelemetryError::Shutdown`] if the collector does not take them.
    pub fn shutdown(self) -> Result<(), TelemetryError> {
        let sent = self.provider.shutdown();
        sent.map_err(|error| TelemetryError::Shutdown(error.into()))
    }
}
