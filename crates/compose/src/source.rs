//! Reads text files of limited size.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::error::{ComposeError, Location};

/// The size of the largest file that is read. Real files have at most some hundred kilobytes.
const MAX_BYTES: u64 = 1 << 20;

/// The name of standard input.
pub(crate) const STDIN: &str = "-";

/// Reads a text file; `-` is standard input.
pub(crate) fn read(path: &Path) -> Result<String, ComposeError> {
    let mut bytes = Vec::new();
    // One byte more, to recognize a file that is too large.
    let reading = if path == Path::new(STDIN) {
        io::stdin().take(MAX_BYTES + 1).read_to_end(&mut bytes)
    } else {
        File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
    };
    reading.map_err(|source| ComposeError::Read {
        path: path.to_owned(),
        source,
    })?;
    let location = Location::file(path);
    if bytes.len() as u64 > MAX_BYTES {
        let what = format!("is larger than {MAX_BYTES} bytes");
        return Err(location.invalid(what));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let byte = error.utf8_error().valid_up_to();
        location.invalid(format!("is not UTF-8 at byte {byte}"))
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(&text).to_owned())
}
