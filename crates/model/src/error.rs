//! One way to print an error with its causes.

use std::error::Error;

/// Joins an error and its causes as `outer: middle: root`.
///
/// A cause whose text already ends what came before is left out, because errors of other
/// libraries often repeat their source.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let part = error.to_string();
        if !text.ends_with(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        cause = error.source();
    }
    text
}
