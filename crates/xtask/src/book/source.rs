//! What mdBook reads: the chapters and the files that they link to, in the directories of the repository.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::SUMMARY;
use super::links::chapters;
use super::page::{Destination, Link, Page, destination};
use crate::failure::Failure;

/// The settings of mdBook, and what these name.
const SETTINGS: [&str; 2] = ["book.toml", "book.css"];

/// The name of the list of files that the book has instead of a directory.
const LISTING: &str = "index.html";

/// Writes the source of the book into `directory`.
///
/// # Errors
///
/// If a file cannot be read or written, or a link cannot be changed.
pub(super) fn write(
    root: &Path,
    pages: &BTreeMap<PathBuf, Page>,
    directory: &Path,
) -> Result<(), Failure> {
    for name in SETTINGS {
        copy(&root.join("docs").join(name), &directory.join(name))?;
    }
    let source = directory.join("src");
    let chapters = chapters(pages);
    // mdBook reads the summary at the top, and the paths of the chapters from there.
    let summary = rewritten(pages, Path::new(SUMMARY), |_, path| {
        Ok(Some(path.display().to_string()))
    })?;
    write_file(&source.join("SUMMARY.md"), &summary)?;
    for chapter in &chapters {
        let text = rewritten(pages, chapter, |link, path| {
            if chapters.iter().any(|chapter| chapter == path) {
                return Ok(None);
            }
            add(root, &source, link, path)
        })?;
        write_file(&source.join(chapter), &text)?;
    }
    Ok(())
}

/// Adds what a chapter links to, other than a chapter. Returns the new address of the link, unless it
/// stays.
fn add(root: &Path, source: &Path, link: &Link, path: &Path) -> Result<Option<String>, Failure> {
    let original = root.join(path);
    if link.is_picture {
        copy(&original, &source.join(path))?;
        return Ok(None);
    }
    if !original.is_dir() {
        copy(&original, &as_text(&source.join(path)))?;
        return Ok(Some(format!("{}.txt", link.address)));
    }
    let mut files = Vec::new();
    collect(&original, &mut files)?;
    let mut items = String::new();
    for file in &files {
        let below = file.strip_prefix(&original).unwrap_or(file);
        copy(file, &as_text(&source.join(path).join(below)))?;
        let name = escaped(&below.display().to_string());
        items.extend(["<li><a href=\"", &name, ".txt\">", &name, "</a></li>\n"]);
    }
    let title = escaped(&path.display().to_string());
    let listing = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{title}</title>\n\
         <h1>{title}</h1>\n<ul>\n{items}</ul>\n</html>\n"
    );
    write_file(&source.join(path).join(LISTING), &listing)?;
    let address = link.address.trim_end_matches('/');
    Ok(Some(format!("{address}/{LISTING}")))
}

/// Returns the path of a copy that every browser shows, whatever the server calls the original.
fn as_text(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".txt");
    name.into()
}

/// Returns the text of a page with the addresses of its links to files as `change` wants them.
fn rewritten(
    pages: &BTreeMap<PathBuf, Page>,
    path: &Path,
    mut change: impl FnMut(&Link, &Path) -> Result<Option<String>, Failure>,
) -> Result<String, Failure> {
    let missing = || Failure::new(format!("no such page: `{}`", path.display()));
    let page = pages.get(path).ok_or_else(missing)?;
    let mut changes = Vec::new();
    for link in &page.links {
        let Destination::File(file, _) = destination(path, &link.address) else {
            continue;
        };
        if let Some(address) = change(link, &file)? {
            // The last one, because the text of the link may have it, too.
            let within = &page.text[link.span.clone()];
            let offset = within.rfind(&link.address).ok_or_else(|| {
                let Link { address, line, .. } = link;
                let page = path.display();
                Failure::new(format!("{page}:{line}: write `{address}` without escapes"))
            })?;
            let start = link.span.start + offset;
            changes.push((start..start + link.address.len(), address));
        }
    }
    // From the end, so that the offsets before a change stay.
    changes.sort_by_key(|(span, _)| std::cmp::Reverse(span.start));
    let mut text = page.text.clone();
    for (span, address) in changes {
        text.replace_range(span, &address);
    }
    Ok(text)
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let failed = |error| Failure::file("list", directory, &error);
    let entries = fs::read_dir(directory).map_err(failed)?;
    let mut paths = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<PathBuf>, _>>()
        .map_err(failed)?;
    paths.sort();
    for path in paths {
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    create_parent(to)?;
    fs::copy(from, to).map_err(|error| Failure::file("copy", from, &error))?;
    Ok(())
}

fn write_file(path: &Path, text: &str) -> Result<(), Failure> {
    create_parent(path)?;
    fs::write(path, text).map_err(|error| Failure::file("write", path, &error))
}

fn create_parent(path: &Path) -> Result<(), Failure> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent).map_err(|error| Failure::file("create", parent, &error))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_addresses_and_no_other_text() {
        let text = "`a.rs` and [a.rs](a.rs), [b](b.md#x),\n![p](p.png) [c](../c.rs \"a.rs\")\n";
        let pages = BTreeMap::from([("docs/d.md".into(), Page::parse(text.to_owned()))]);
        let changed = rewritten(&pages, Path::new("docs/d.md"), |link, path| {
            let is_source = path.extension().is_some_and(|extension| extension == "rs");
            Ok(is_source.then(|| format!("{}.txt", link.address)))
        });
        assert_eq!(
            changed.unwrap(),
            "`a.rs` and [a.rs](a.rs.txt), [b](b.md#x),\n![p](p.png) [c](../c.rs.txt \"a.rs\")\n"
        );
    }
}
