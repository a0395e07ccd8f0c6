//! The file of the timeline: one line of JSON for each observation.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::{Current, Observation, VERSION};

/// The name of the file in the state directory.
pub(super) const FILE: &str = "timeline.jsonl";

/// Observations that are older than this are dropped.
pub(super) const KEPT: SignedDuration = SignedDuration::from_hours(28 * 24);

/// The largest file that is read, in bytes.
const MAX_READ: u64 = 64 << 20;

/// What became of a file.
pub(super) enum Found {
    Nothing,
    Observations(Vec<Observation>),
    /// Its first lines, and what is wrong with the next.
    Damaged(Vec<Observation>, String),
    /// It cannot be read now, or a newer program wrote it. It stays as it is.
    Foreign(io::Error),
}

/// Reads the file. A last line without an end is one that is being written.
pub(super) fn read(path: &Path) -> Found {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }

    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Found::Nothing,
        Err(error) => return Found::Foreign(error),
    };
    let mut reader = BufReader::new(file.take(MAX_READ));
    let mut current = Current::default();
    let mut found: Vec<Observation> = Vec::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        match reader.read_until(b'\n', &mut line) {
            Ok(_) if !line.ends_with(b"\n") => return Found::Observations(found),
            Ok(_) => {}
            Err(error) => return Found::Foreign(error),
        }
        if let Ok(Versioned { version }) = serde_json::from_slice(&line)
            && version > VERSION
        {
            return Found::Foreign(io::Error::other(format!(
                "it is of version {version}, and this program knows {VERSION}"
            )));
        }
        let read = serde_json::from_slice::<Observation>(&line);
        let added = read.map_err(|error| error.to_string()).and_then(|new| {
            let is_whole = new.begins || current.last.is_some();
            let applied = current.apply(&new).map_err(|error| error.to_string());
            applied.and(
                is_whole
                    .then_some(new)
                    .ok_or("it has no beginning".to_owned()),
            )
        });
        match added {
            Ok(new) => found.push(new),
            Err(problem) => {
                let line = found.len() + 1;
                return Found::Damaged(found, format!("line {line}: {problem}"));
            }
        }
    }
}

/// Replaces observations before `from` by one that has what was there then.
pub(super) fn shortened(observations: Vec<Observation>, from: Timestamp) -> Vec<Observation> {
    let mut current = Current::default();
    let mut kept: Vec<Observation> = Vec::new();
    for new in observations {
        if new.at < from {
            // The reader has applied all of them before.
            drop(current.apply(&new));
            continue;
        }
        if kept.is_empty() && !new.begins {
            kept.extend(current.all());
        }
        kept.push(new);
    }
    if kept.is_empty() {
        kept.extend(current.all());
    }
    kept
}

/// Returns the lines of observations.
pub(super) fn lines(observations: &[Observation]) -> serde_json::Result<Vec<u8>> {
    let mut lines = Vec::new();
    for new in observations {
        serde_json::to_writer(&mut lines, new)?;
        lines.push(b'\n');
    }
    Ok(lines)
}
