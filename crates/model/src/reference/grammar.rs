//! The grammar of a reference in full form: `[domain/]path[:tag][@digest]`.
//!
//! Called by [`super::Reference`] only. Looks at characters, knows no defaults.
//!
//! Source of the rules: distribution/reference, `regexp.go`.

/// How many characters a tag may have.
const MAX_TAG_LEN: usize = 128;

/// How many hexadecimal characters a digest must have: 128 bits.
const MIN_DIGEST_LEN: usize = 32;

/// How many hexadecimal characters a SHA-256 digest has.
const IDENTIFIER_LEN: usize = 64;

/// The parts of a text that follows the grammar. The digest may be of any algorithm.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    pub(super) domain: &'a str,
    pub(super) path: &'a str,
    pub(super) tag: Option<&'a str>,
    pub(super) digest: Option<&'a str>,
}

/// Splits `text`, or returns nothing when it does not follow the grammar.
pub(super) fn split(text: &str) -> Option<Parts<'_>> {
    // Neither tags nor digests have a slash, and after the last one no port can follow.
    let last = text.rfind('/').map_or(0, |slash| slash + 1);
    let (tail, digest) = split_suffix(&text[last..], '@');
    let (component, tag) = split_suffix(tail, ':');
    if tag.is_some_and(|tag| !is_tag(tag)) || digest.is_some_and(|digest| !is_digest(digest)) {
        return None;
    }
    let name = &text[..last + component.len()];
    let (domain, path) = split_name(name)?;
    Some(Parts {
        domain,
        path,
        tag,
        digest,
    })
}

fn split_suffix(text: &str, separator: char) -> (&str, Option<&str>) {
    match text.split_once(separator) {
        Some((before, after)) => (before, Some(after)),
        None => (text, None),
    }
}

fn split_name(name: &str) -> Option<(&str, &str)> {
    match name.split_once('/') {
        Some((domain, path)) if is_domain(domain) && is_path(path) => Some((domain, path)),
        Some(_) | None => is_path(name).then_some(("", name)),
    }
}

/// Whether `text` is a bare SHA-256 digest, which Docker takes for an image ID.
pub(super) fn is_hex_identifier(text: &str) -> bool {
    text.len() == IDENTIFIER_LEN
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_tag(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.len() <= MAX_TAG_LEN
        && text.bytes().next().is_some_and(word)
        && text
            .bytes()
            .all(|byte| word(byte) || matches!(byte, b'.' | b'-'))
}

/// Any algorithm: words that begin with a letter, joined by one of `-_+.`.
fn is_digest(text: &str) -> bool {
    let Some((algorithm, hex)) = text.split_once(':') else {
        return false;
    };
    let is_word = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_alphabetic())
            && word.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    algorithm.split(['-', '_', '+', '.']).all(is_word)
        && hex.len() >= MIN_DIGEST_LEN
        && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_path(text: &str) -> bool {
    text.split('/').all(is_path_component)
}

/// Runs of lower-case letters and digits, joined by `.`, `_`, `__` or any number of `-`.
fn is_path_component(text: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let separator = |gap: &str| matches!(gap, "." | "_" | "__") || gap.bytes().all(|b| b == b'-');
    text.starts_with(alphanumeric)
        && text.ends_with(alphanumeric)
        // What lies between two characters of a run is the empty gap.
        && text.split(alphanumeric).all(separator)
}

/// A host name, an IPv4 address or an IPv6 address in brackets, with or without a port.
fn is_domain(text: &str) -> bool {
    let host_end = match text.strip_prefix('[') {
        Some(rest) => match rest.find(']') {
            Some(end) => end + "[]".len(),
            None => return false,
        },
        None => text.find(':').unwrap_or(text.len()),
    };
    let (host, port) = text.split_at(host_end);
    is_host(host) && (port.is_empty() || is_port(port))
}

fn is_host(text: &str) -> bool {
    if let Some(address) = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        let in_address = |byte: u8| byte.is_ascii_hexdigit() || byte == b':';
        return !address.is_empty() && address.bytes().all(in_address);
    }
    text.split('.').all(|component| {
        let end = |c: char| c.is_ascii_alphanumeric();
        component.starts_with(end)
            && component.ends_with(end)
            && component.chars().all(|c| end(c) || c == '-')
    })
}

fn is_port(text: &str) -> bool {
    text.strip_prefix(':').is_some_and(|digits| {
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}
