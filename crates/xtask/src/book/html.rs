//! The check of the HTML that mdBook made: links between its files, and what it would load from the web.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use regex_lite::Regex;

use super::page::{Destination, destination};
use crate::failure::Failure;

/// What was checked, and what is wrong, one line each.
#[derive(Debug, Default)]
pub(super) struct Checked {
    pub(super) files: usize,
    pub(super) links: usize,
    pub(super) problems: Vec<String>,
}

/// An HTML file: addresses, each with its element, and the names of elements that links can have.
#[derive(Debug, Default)]
struct Document {
    addresses: Vec<(String, String)>,
    anchors: BTreeSet<String>,
}

/// Checks all HTML files of the book.
pub(super) fn check(book: &Path) -> Result<Checked, Failure> {
    let mut documents = BTreeMap::new();
    read_all(book, book, &mut documents)?;
    let mut checked = Checked {
        files: documents.len(),
        ..Checked::default()
    };
    for (path, document) in &documents {
        checked.links += document.addresses.len();
        for (element, address) in &document.addresses {
            if let Some(problem) = problem(book, &documents, path, element, address) {
                let path = path.display();
                checked
                    .problems
                    .push(format!("{path}: `{address}`: {problem}"));
            }
        }
    }
    Ok(checked)
}

fn problem(
    book: &Path,
    documents: &BTreeMap<PathBuf, Document>,
    from: &Path,
    element: &str,
    address: &str,
) -> Option<&'static str> {
    match destination(from, address) {
        Destination::Web if element == "a" => None,
        Destination::Web => Some("is loaded from the web"),
        Destination::Outside => Some("leaves the book"),
        Destination::File(path, anchor) => {
            if !book.join(&path).is_file() {
                return Some("no such file");
            }
            let named = anchor.filter(|anchor| !anchor.is_empty());
            let document = documents.get(&path);
            let has = |anchor: &str| document.is_some_and(|found| found.anchors.contains(anchor));
            named
                .is_some_and(|anchor| !has(anchor))
                .then_some("the page has no such heading")
        }
    }
}

fn read_all(
    book: &Path,
    directory: &Path,
    documents: &mut BTreeMap<PathBuf, Document>,
) -> Result<(), Failure> {
    let failed = |error| Failure::file("list", directory, &error);
    for entry in fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            read_all(book, &path, documents)?;
        } else if path
            .extension()
            .is_some_and(|extension| extension == "html")
        {
            let text =
                fs::read_to_string(&path).map_err(|error| Failure::file("read", &path, &error))?;
            let short = path.strip_prefix(book).unwrap_or(&path).to_owned();
            documents.insert(short, Document::parse(&text)?);
        }
    }
    Ok(())
}

impl Document {
    /// Reads the start tags. mdBook writes `<` in texts as `&lt;`, and attributes in double quotes.
    fn parse(text: &str) -> Result<Self, Failure> {
        let regex = |pattern| {
            Regex::new(pattern).map_err(|error| Failure::new(format!("`{pattern}`: {error}")))
        };
        let tag = regex("<([a-z][a-z0-9]*)(\\s[^<>]*)>")?;
        let attribute = regex("\\s(href|src|id)=\"([^\"]*)\"")?;
        let mut document = Self::default();
        for found in tag.captures_iter(text) {
            for found_attribute in attribute.captures_iter(&found[2]) {
                let value = found_attribute[2].replace("&amp;", "&");
                if &found_attribute[1] == "id" {
                    document.anchors.insert(value);
                } else {
                    document.addresses.push((found[1].to_owned(), value));
                }
            }
        }
        Ok(document)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_links_that_lead_nowhere_and_what_comes_from_the_web() {
        let document = Document::parse(
            "<h1 class=\"x\" id=\"a\">A</h1> <a href=\"#a\">a</a> <a href=\"#b\">b</a> &lt;a \
             href=\"c\"> <a href=\"https://example.com/\">d</a>\n<script\nsrc=\"https://e/e.js\"></script>",
        )
        .unwrap();
        let addresses = document.addresses.clone();
        let documents = BTreeMap::from([("Cargo.toml".into(), document)]);
        let book = Path::new(env!("CARGO_MANIFEST_DIR"));
        let problems: Vec<Option<&str>> = addresses
            .iter()
            .map(|(element, address)| {
                problem(book, &documents, Path::new("Cargo.toml"), element, address)
            })
            .collect();
        assert_eq!(
            problems,
            [
                None,
                Some("the page has no such heading"),
                None,
                Some("is loaded from the web")
            ]
        );
    }
}
