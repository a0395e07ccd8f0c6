//! The log on standard error, and spans to a collector.

use std::io::{self, IsTerminal, Write};

use reclaim_model::{chain, is_printable};
use reclaim_telemetry::{Spans, TelemetryError};
use tracing::warn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::args::{Globals, LogFormat, OTLP_VARIABLE};
use crate::exit::CommandError;
use crate::output;

/// The service name in spans.
const SERVICE: &str = "reclaim";

/// The level of spans, whatever the level of the log.
const SPANS: &str = "info";

/// Sends the remaining spans to the collector when it is dropped.
#[must_use = "no spans are sent after it is dropped"]
pub(crate) struct Logging {
    spans: Option<Spans>,
}

/// Starts the log and the sending of spans, which needs a runtime.
pub(crate) fn init(globals: &Globals) -> Result<Logging, CommandError> {
    let (spans, is_ignored) = connect(globals)?;
    let layer = spans
        .as_ref()
        .map(|spans| spans.layer().with_filter(EnvFilter::new(SPANS)));
    // The filter is valid: the arguments were checked.
    let filter = || EnvFilter::builder().parse_lossy(&globals.log_level);
    let log = tracing_subscriber::fmt::layer();
    let registry = tracing_subscriber::registry().with(layer);
    match globals.log_format {
        LogFormat::Text => {
            let has_colours = io::stderr().is_terminal();
            let log = log
                .with_ansi(has_colours)
                .with_writer(move || Records { has_colours });
            registry.with(log.with_filter(filter())).init();
        }
        LogFormat::Json => {
            let log = log.json().with_writer(io::stderr);
            registry.with(log.with_filter(filter())).init();
        }
    }
    if is_ignored {
        warn!("built without the `otel` feature: {OTLP_VARIABLE} is ignored");
    }
    Ok(Logging { spans })
}

/// Connects to the collector, if there is one. Also returns whether its address is ignored: the variable
/// is for every program on a machine, so one that cannot send spans still runs.
fn connect(globals: &Globals) -> Result<(Option<Spans>, bool), CommandError> {
    let Some(endpoint) = globals.otlp_endpoint() else {
        return Ok((None, false));
    };
    match Spans::connect(SERVICE, endpoint) {
        Ok(spans) => Ok((Some(spans), false)),
        Err(TelemetryError::NotBuilt) if !globals.is_otlp_endpoint_given() => Ok((None, true)),
        Err(source) => Err(CommandError::Collector {
            endpoint: endpoint.to_owned(),
            source,
        }),
    }
}

/// Writes records of the text log to standard error, one line each: a name or an error of others cannot
/// add a line.
struct Records {
    has_colours: bool,
}

impl Write for Records {
    /// Writes a whole record. The formatter calls it once for each.
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(record);
        io::stderr().write_all(on_one_line(&text, self.has_colours).as_bytes())?;
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Replaces characters that are not printable, except the end of the line. Escape characters stay in a
/// log with colours: the formatter begins colours with them, and escapes those in messages and fields.
fn on_one_line(record: &str, has_colours: bool) -> String {
    let mut line: String = record
        .trim_end_matches('\n')
        .chars()
        .map(|character| {
            let is_colour = has_colours && character == '\u{1b}';
            if is_printable(character) || is_colour {
                character
            } else {
                char::REPLACEMENT_CHARACTER
            }
        })
        .collect();
    line.push('\n');
    line
}

impl Drop for Logging {
    fn drop(&mut self) {
        if let Some(spans) = self.spans.take()
            && let Err(error) = spans.shutdown()
        {
            output::message(format!(
                "warning: cannot send all spans to the collector: {}",
                chain(&error)
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_one_line() {
        let record = "INFO removed image=\u{1b}[1ma\r\nERROR forged \u{202e}\u{9b}2J\n";
        let plain =
            "INFO removed image=\u{fffd}[1ma\u{fffd}\u{fffd}ERROR forged \u{fffd}\u{fffd}2J\n";
        assert_eq!(on_one_line(record, false), plain);
        let coloured = plain.replacen('\u{fffd}', "\u{1b}", 1);
        assert_eq!(on_one_line(record, true), coloured);
    }
}
