//! The book of the documentation in a browser, from files: its pictures, and its search.
//!
//! Needs the book, which `cargo xtask book` builds and `cargo xtask test` names in `RECLAIM_TEST_BOOK`.

use std::env;
use std::path::PathBuf;

use reclaim_testkit::Browser;
use serde_json::json;

const BOOK_VARIABLE: &str = "RECLAIM_TEST_BOOK";

fn opened() -> (Browser, String) {
    let book = env::var_os(BOOK_VARIABLE)
        .unwrap_or_else(|| panic!("set {BOOK_VARIABLE} to what `cargo xtask book` built"));
    let book = PathBuf::from(book).canonicalize().expect("the book");
    let address = format!("file://{}", book.display());
    let mut browser = Browser::start(1200, 800);
    browser.open(&format!("{address}/index.html"));
    (browser, address)
}

/// Returns an expression that waits until `expression` is neither false nor empty, and has its value.
fn waiting(expression: &str) -> String {
    format!(
        "new Promise(resolve => {{ const look = () => {{ const found = {expression}; \
         if (found && found.length !== 0) resolve(found); else setTimeout(look, 20); }}; look(); }})"
    )
}

#[test]
fn the_first_page_has_its_pictures() {
    let (mut browser, _) = opened();
    let names = "[...document.querySelectorAll('main img')].filter(i => i.naturalWidth > 0) \
                 .map(i => i.getAttribute('src'))";
    let shown = browser.evaluate(names);
    for name in ["dry-run.svg", "prune.svg", "browse.svg", "page.png"] {
        let address = json!(format!("docs/pictures/{name}"));
        let is_shown = shown.as_array().is_some_and(|all| all.contains(&address));
        assert!(is_shown, "{name} is not among {shown}");
    }
    assert!(browser.complaints.is_empty(), "{:?}", browser.complaints);
}

#[test]
fn a_search_finds_the_page() {
    let (mut browser, address) = opened();
    for (words, page) in [
        ("cloudevents", "docs/after-a-run.html"),
        ("spegel mirror", "docs/slim.html"),
        ("ncdu", "docs/disk-usage.html"),
        ("vulnerability report private", "SECURITY.html"),
    ] {
        browser.open(&format!("{address}/index.html"));
        browser.evaluate("document.getElementById('mdbook-search-toggle').click()");
        browser.evaluate(&waiting("document.activeElement.id === 'mdbook-searchbar'"));
        browser.type_text(words);
        // The page searches when a key comes up.
        browser.press("ArrowRight");
        let links = "[...document.querySelectorAll('#mdbook-searchresults a')].map(a => a.href)";
        let found = browser.evaluate(&waiting(links));
        let wanted = format!("{address}/{page}");
        let mut found_links = found.as_array().into_iter().flatten();
        let link =
            found_links.find_map(|link| link.as_str().filter(|link| link.starts_with(&wanted)));
        let link = link.unwrap_or_else(|| panic!("{words}: {found}"));
        browser.open(link);
        // The page that opens marks the words.
        browser.evaluate(&waiting(
            "document.querySelectorAll('main mark').length > 0",
        ));
        assert!(browser.complaints.is_empty(), "{:?}", browser.complaints);
    }
}
