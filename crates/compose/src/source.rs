//! Reading files: whole, as text, and none that is larger than any that people write.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::error::{ComposeError, Place};

/// The largest file that is read. Large real ones have some hundred kilobytes.
const MAX_BYTES: u64 = 1 << 20;

/// The name that stands for standard input.
pub(crate) const STDIN: &str = "-";

/// Reads a text file; `-` is standard input.
pub(crate) fn read(path: &Path) -> Result<String, ComposeError> {
    let mut bytes = Vec::new();
    // One byte more tells a file that is too large.
    let reading = if path == Path::new(STDIN) {
        io::stdin().take(MAX_BYTES + 1).read_to_end(&mut bytes)
    } else {
        File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
    };
    reading.map_err(|source| ComposeError::Read {
        path: path.to_owned(),
        source,
    })?;
    let place = Place::file(path);
    if bytes.len() as u64 > MAX_BYTES {
        let what = format!("is larger than the {MAX_BYTES} bytes that are accepted");
        return Err(place.invalid(what));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        place.invalid(format!("is not UTF-8 from byte {at} on"))
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(&text).to_owned())
}
