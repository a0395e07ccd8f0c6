//! The check of links between the pages of the repository.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::SUMMARY;
use super::page::{Destination, Page, destination};

/// Returns the links that lead nowhere, and other mistakes, one line each.
pub(super) fn problems(root: &Path, pages: &BTreeMap<PathBuf, Page>) -> Vec<String> {
    let mut problems = Vec::new();
    for (path, page) in pages {
        let of_links = page.links.iter().filter_map(|link| {
            let problem = problem(root, pages, path, &link.address)?;
            Some((link.line, format!("`{}`: {problem}", link.address)))
        });
        let mut of_page: Vec<(usize, String)> =
            of_links.chain(page.mistakes.iter().cloned()).collect();
        of_page.sort();
        for (line, problem) in of_page {
            problems.push(format!("{}:{line}: {problem}", path.display()));
        }
    }
    problems
}

/// Returns what is wrong with an address in the page `from`.
fn problem(
    root: &Path,
    pages: &BTreeMap<PathBuf, Page>,
    from: &Path,
    address: &str,
) -> Option<&'static str> {
    match destination(from, address) {
        Destination::Web => None,
        Destination::Outside => Some("leaves the repository"),
        Destination::File(path, anchor) => match (pages.get(&path), anchor) {
            (Some(page), Some(anchor)) if !page.anchors.contains(anchor) => {
                Some("the page has no such heading")
            }
            (None, _) if !root.join(&path).exists() => Some("no such file"),
            (None, Some(_)) => Some("only pages have headings"),
            (Some(_), _) | (None, None) => None,
        },
    }
}

/// Returns the pages of `docs/` that are not a chapter, or more than one, one line each.
pub(super) fn missing_chapters(pages: &BTreeMap<PathBuf, Page>) -> Vec<String> {
    let chapters = chapters(pages);
    let count = |path: &Path| chapters.iter().filter(|chapter| *chapter == path).count();
    let is_doc = |path: &&PathBuf| path.starts_with("docs") && path.as_path() != Path::new(SUMMARY);
    let mut problems = Vec::new();
    for path in pages.keys().filter(is_doc) {
        match count(path) {
            1 => {}
            0 => problems.push(format!("{SUMMARY}: lacks {}", path.display())),
            _ => problems.push(format!("{SUMMARY}: has {} twice", path.display())),
        }
    }
    problems
}

/// Returns the pages of the book, in order.
pub(super) fn chapters(pages: &BTreeMap<PathBuf, Page>) -> Vec<PathBuf> {
    let summary = Path::new(SUMMARY);
    let links = pages.get(summary).into_iter().flat_map(|page| &page.links);
    links
        .filter_map(|link| match destination(summary, &link.address) {
            Destination::File(path, _) => Some(path),
            Destination::Web | Destination::Outside => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages<const N: usize>(texts: [(&str, &str); N]) -> BTreeMap<PathBuf, Page> {
        texts
            .into_iter()
            .map(|(path, text)| (path.into(), Page::parse(text.to_owned())))
            .collect()
    }

    #[test]
    fn finds_links_that_lead_nowhere() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let pages = pages([
            (
                "README.md",
                "[a](docs/a.md) [b](docs/a.md#b)\n[c](#c) [d](docs/d.md)\n[e](src/main.rs)\n\
                 [f](src/main.rs#f) [g](../g) [h][h]\n",
            ),
            ("docs/a.md", "# B\n[web](https://example.com/x#y)"),
        ]);
        assert_eq!(
            problems(root, &pages),
            [
                "README.md:2: `#c`: the page has no such heading",
                "README.md:2: `docs/d.md`: no such file",
                "README.md:4: `../g`: leaves the repository",
                "README.md:4: `[h]` is not defined",
                "README.md:4: `src/main.rs#f`: only pages have headings",
            ]
        );
    }

    #[test]
    fn finds_pages_that_are_not_in_the_book() {
        let pages = pages([
            (
                SUMMARY,
                "[I](../README.md)\n- [A](a.md)\n- [B](b.md)\n- [B](b.md)",
            ),
            ("README.md", ""),
            ("SECURITY.md", ""),
            ("docs/a.md", ""),
            ("docs/b.md", ""),
            ("docs/c.md", ""),
        ]);
        assert_eq!(
            missing_chapters(&pages),
            [
                "docs/SUMMARY.md: has docs/b.md twice",
                "docs/SUMMARY.md: lacks docs/c.md"
            ]
        );
    }
}
