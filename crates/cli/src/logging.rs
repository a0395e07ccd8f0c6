//! The log on standard error, and spans to a collector.

use std::io::IsTerminal;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::args::{Globals, LogFormat};
use crate::exit::CommandError;
use crate::output;

/// The service name in spans.
const SERVICE: &str = "reclaim";

/// The level of spans, whatever the level of the log.
const SPANS: &str = "info";

/// Sends the remaining spans to the collector when it is dropped.
#[must_use = "no spans are sent after it is dropped"]
pub(crate) struct Logging {
    tracing: Option<SdkTracerProvider>,
}

/// Starts the log and the sending of spans, which needs a runtime.
pub(crate) fn init(globals: &Globals) -> Result<Logging, CommandError> {
    let tracing = globals.otlp_endpoint().map(provider).transpose()?;
    let spans = tracing.as_ref().map(|provider| {
        let tracer = provider.tracer(SERVICE);
        let layer = tracing_opentelemetry::layer().with_tracer(tracer);
        layer.with_filter(EnvFilter::new(SPANS))
    });
    // The filter is valid: the arguments were checked.
    let filter = || EnvFilter::builder().parse_lossy(&globals.log_level);
    let log = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(spans);
    match globals.log_format {
        LogFormat::Text => {
            let log = log.with_ansi(std::io::stderr().is_terminal());
            registry.with(log.with_filter(filter())).init();
        }
        LogFormat::Json => registry.with(log.json().with_filter(filter())).init(),
    }
    Ok(Logging { tracing })
}

fn provider(endpoint: &str) -> Result<SdkTracerProvider, CommandError> {
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .build()
        .map_err(|source| CommandError::Collector {
            endpoint: endpoint.to_owned(),
            source,
        })?;
    let resource = Resource::builder().with_service_name(SERVICE).build();
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource)
        .build())
}

impl Drop for Logging {
    fn drop(&mut self) {
        if let Some(provider) = self.tracing.take()
            && let Err(error) = provider.shutdown()
        {
            output::message(&format!(
                "warning: cannot send all spans to the collector: {error}"
            ));
        }
    }
}
