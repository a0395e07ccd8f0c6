//! `cargo xtask book`: the documentation as one book of HTML, and the check of its links.
//!
//! The chapters are those of `docs/SUMMARY.md`. The book has the directories of the repository, so links
//! between pages are the same in both. Files that are not chapters, such as an example in Rust, are copied
//! into the book if a chapter has a link to them.

mod html;
mod links;
mod page;
mod source;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::Failure;
use crate::shell;
use crate::suites;
use crate::tool::{self, MDBOOK};
use crate::workspace::Workspace;
use page::Page;

/// The list of chapters.
const SUMMARY: &str = "docs/SUMMARY.md";

/// The variable with the directory of the book for the test that searches in it.
const BOOK_VARIABLE: &str = "RECLAIM_TEST_BOOK";

/// Checks the links, builds the book, and prints where it is.
pub(crate) fn run(workspace: &Workspace) -> Result<(), Failure> {
    check_links(workspace)?;
    let book = build(workspace)?;
    println!("{}", book.join("index.html").display());
    Ok(())
}

/// Checks the links of all pages of the repository, and that each page of `docs/` is a chapter. Links to
/// the web are not followed.
pub(crate) fn check_links(workspace: &Workspace) -> Result<(), Failure> {
    let pages = page::read_all(&workspace.root)?;
    let mut problems = links::problems(&workspace.root, &pages);
    problems.extend(links::missing_chapters(&pages));
    println!("{} links of {} pages", count(&pages), pages.len());
    report(&problems, "links or chapters")
}

/// Builds the book below the target directory, checks the links of its HTML, and returns its directory.
pub(crate) fn build(workspace: &Workspace) -> Result<PathBuf, Failure> {
    let mdbook = tool::provide(workspace, MDBOOK)?;
    let pages = page::read_all(&workspace.root)?;
    let source = workspace.empty_directory("book-source")?;
    source::write(&workspace.root, &pages, &source)?;
    let book = workspace.empty_directory("book")?;
    let mut build = Command::new(mdbook);
    build.arg("build").arg(&source).arg("--dest-dir").arg(&book);
    shell::show_and_run(&mut build)?;
    let checked = html::check(&book)?;
    println!(
        "{} links and pictures of {} files",
        checked.links, checked.files
    );
    report(&checked.problems, "the links of the book")?;
    if checked.links < count(&pages) {
        return Err(Failure::new("the book has fewer links than its pages")
            .hint("has mdBook changed the form of its HTML? See crates/xtask/src/book/html.rs"));
    }
    Ok(book)
}

fn count(pages: &BTreeMap<PathBuf, Page>) -> usize {
    pages.values().map(|page| page.links.len()).sum()
}

/// Opens the book in chromium, and searches in it.
pub(crate) fn search(workspace: &Workspace, book: &Path) -> Result<(), Failure> {
    let mut search = suites::runner(workspace);
    search.args(["--package", "reclaim-testkit", "--test", "book"]);
    shell::show_and_run(search.env(BOOK_VARIABLE, book))
}

fn report(problems: &[String], subject: &str) -> Result<(), Failure> {
    if problems.is_empty() {
        return Ok(());
    }
    for problem in problems {
        eprintln!("{problem}");
    }
    Err(Failure::new(format!(
        "errors in {subject}: {}",
        problems.len()
    )))
}
