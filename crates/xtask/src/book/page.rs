//! The pages of the repository, and the links and headings in them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use pulldown_cmark::{BrokenLink, CowStr, Event, LinkType, Options, Parser, Tag, TagEnd};

use crate::failure::Failure;

/// A page of Markdown.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) text: String,
    pub(super) links: Vec<Link>,
    /// The names of its headings, as GitHub and mdBook make them.
    pub(super) anchors: BTreeSet<String>,
    /// What is wrong with it: a line, and the text.
    pub(super) mistakes: Vec<(usize, String)>,
}

/// A link or a picture.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) address: String,
    pub(super) is_picture: bool,
    /// The link in the text of the page: its definition, if it has one elsewhere.
    pub(super) span: Range<usize>,
    /// From 1.
    pub(super) line: usize,
}

/// Where a link leads.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Destination<'link> {
    /// An address on the web.
    Web,
    /// A file or directory, as a path from the root of the repository, and an anchor in it.
    File(PathBuf, Option<&'link str>),
    /// A path that leaves the repository.
    Outside,
}

/// Reads all pages below `root`, by their paths from there.
pub(super) fn read_all(root: &Path) -> Result<BTreeMap<PathBuf, Page>, Failure> {
    let mut pages = BTreeMap::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        let failed = |error| Failure::file("list", &directory, &error);
        for entry in fs::read_dir(&directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let path = entry.path();
            let name = entry.file_name();
            let is_built = name == "target" || name.as_encoded_bytes().starts_with(b".");
            // A link to a directory is not followed.
            let is_directory = entry.file_type().map_err(failed)?.is_dir();
            if is_directory && !is_built {
                directories.push(path);
            } else if !is_directory && path.extension().is_some_and(|extension| extension == "md") {
                let text = fs::read_to_string(&path)
                    .map_err(|error| Failure::file("read", &path, &error))?;
                let short = path.strip_prefix(root).unwrap_or(&path).to_owned();
                pages.insert(short, Page::parse(text));
            }
        }
    }
    Ok(pages)
}

impl Page {
    pub(super) fn parse(text: String) -> Self {
        let line_of = |offset: usize| 1 + text[..offset].matches('\n').count();
        let mut mistakes = Vec::new();
        let mut undefined = Vec::new();
        let mut note_undefined = |link: BrokenLink<'_>| -> Option<(CowStr<'_>, CowStr<'_>)> {
            // `[x]` alone is text.
            if matches!(link.link_type, LinkType::Reference | LinkType::Collapsed) {
                undefined.push((link.span.start, link.reference.to_string()));
            }
            None
        };
        let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
        let parser =
            Parser::new_with_broken_link_callback(&text, options, Some(&mut note_undefined));
        let mut links = Vec::new();
        for (_, definition) in parser.reference_definitions().iter() {
            links.push(Link {
                address: definition.dest.to_string(),
                is_picture: false,
                line: line_of(definition.span.start),
                span: definition.span.clone(),
            });
        }
        let mut anchors = Anchors::default();
        let mut heading: Option<String> = None;
        for (event, span) in parser.into_offset_iter() {
            if let Some((address, is_picture)) = inline_link(&event) {
                links.push(Link {
                    address,
                    is_picture,
                    line: line_of(span.start),
                    span,
                });
            } else if matches!(event, Event::Start(Tag::Heading { .. })) {
                heading = Some(String::new());
            } else if matches!(event, Event::End(TagEnd::Heading(_))) {
                anchors.add(&heading.take().unwrap_or_default());
            } else if let Event::Text(part) | Event::Code(part) = event {
                if let Some(heading) = &mut heading {
                    heading.push_str(&part);
                }
            } else if let Event::Html(html) | Event::InlineHtml(html) = event
                && (html.contains("href=") || html.contains("src="))
            {
                mistakes.push((line_of(span.start), format!("a link in HTML: {html}")));
            }
        }
        for (offset, reference) in undefined {
            mistakes.push((line_of(offset), format!("`[{reference}]` is not defined")));
        }
        Self {
            links,
            anchors: anchors.names,
            mistakes,
            text,
        }
    }
}

/// The names of the headings of a page.
#[derive(Debug, Default)]
struct Anchors {
    names: BTreeSet<String>,
    counts: BTreeMap<String, usize>,
}

impl Anchors {
    fn add(&mut self, heading: &str) {
        let name = anchor(heading);
        let count = self.counts.entry(name.clone()).or_default();
        // The second of the same name has the suffix 1.
        self.names.insert(match *count {
            0 => name,
            earlier => format!("{name}-{earlier}"),
        });
        *count += 1;
    }
}

/// Returns the name of a heading.
fn anchor(heading: &str) -> String {
    heading
        .trim()
        .chars()
        .filter_map(|character| match character {
            ' ' => Some('-'),
            '-' | '_' => Some(character),
            _ => character.is_alphanumeric().then_some(character),
        })
        .flat_map(char::to_lowercase)
        .collect()
}

/// Returns the address of a link that has it in the same place, and whether it is a picture. Other links
/// use a definition.
fn inline_link(event: &Event<'_>) -> Option<(String, bool)> {
    let Event::Start(
        Tag::Link {
            link_type,
            dest_url,
            ..
        }
        | Tag::Image {
            link_type,
            dest_url,
            ..
        },
    ) = event
    else {
        return None;
    };
    let is_picture = matches!(event, Event::Start(Tag::Image { .. }));
    matches!(link_type, LinkType::Inline | LinkType::Autolink)
        .then(|| (dest_url.to_string(), is_picture))
}

/// Returns where an address in `page` leads.
pub(super) fn destination<'link>(page: &Path, address: &'link str) -> Destination<'link> {
    let scheme = address.split(['/', '#', '?']).next().unwrap_or_default();
    if scheme.contains(':') {
        return Destination::Web;
    }
    let (file, anchor) = match address.split_once('#') {
        Some((file, anchor)) => (file, Some(anchor)),
        None => (address, None),
    };
    if file.is_empty() {
        return Destination::File(page.to_owned(), anchor);
    }
    let mut path = page.parent().unwrap_or(Path::new("")).to_owned();
    for component in Path::new(file).components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::CurDir => {}
            Component::ParentDir if path.pop() => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                return Destination::Outside;
            }
        }
    }
    Destination::File(path, anchor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_links_and_pictures_but_none_in_code() {
        let page = Page::parse(
            "A [page](b.md#c), ![a\npicture](d.png), `[code](e.md)` and [protect].\n\n\
             ```\n[code](f.md)\n```\n\n[defined][g], [lost][h]\n\n[g]: i.md\n"
                .to_owned(),
        );
        let mut found: Vec<(&str, bool, usize)> = page
            .links
            .iter()
            .map(|link| (link.address.as_str(), link.is_picture, link.line))
            .collect();
        found.sort_unstable();
        assert_eq!(
            found,
            [
                ("b.md#c", false, 1),
                ("d.png", true, 1),
                ("i.md", false, 10)
            ]
        );
        assert_eq!(page.mistakes, [(8, "`[h]` is not defined".to_owned())]);
    }

    #[test]
    fn names_headings() {
        let page = Page::parse(
            "# What a build takes\n## `reclaim history --all`, `a_b`\n## `[[policy]]`\n## Same\n## Same\n"
                .to_owned(),
        );
        let anchors: Vec<&str> = page.anchors.iter().map(String::as_str).collect();
        assert_eq!(
            anchors,
            [
                "policy",
                "reclaim-history---all-a_b",
                "same",
                "same-1",
                "what-a-build-takes"
            ]
        );
    }

    #[test]
    fn resolves_addresses() {
        let from = |address| destination(Path::new("docs/a.md"), address);
        let file = |path: &str, anchor| Destination::File(path.into(), anchor);
        assert_eq!(from("b.md"), file("docs/b.md", None));
        assert_eq!(from("#c"), file("docs/a.md", Some("c")));
        assert_eq!(from("../README.md#c"), file("README.md", Some("c")));
        assert_eq!(from("../../b.md"), Destination::Outside);
        assert_eq!(from("/b.md"), Destination::Outside);
        assert_eq!(from("https://a/b#c"), Destination::Web);
        assert_eq!(from("mailto:a@b"), Destination::Web);
    }
}
