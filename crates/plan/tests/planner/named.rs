//! Docker's tables of what removing an image by name does, row by row, with our safe
//! differences.

mod ids;
mod used;

use std::collections::BTreeSet;

use reclaim_model::{Named, NamedImages, NotRemoved, ResolvedRequest};

use crate::world::{Outcome, World, digest, id, library};

/// Names and targets; in names `L/` is Docker Hub's library and `<A>` the digest of A.
type Images = &'static [(&'static str, &'static str)];

/// One removal of one name.
struct Case {
    images: Images,
    name: &'static str,
    force: bool,
    /// What goes; everything else stays.
    removed: &'static [&'static str],
    /// Docker's rows, or the text of the error.
    said: &'static [&'static str],
}

const fn case(
    images: Images,
    name: &'static str,
    removed: &'static [&'static str],
    said: &'static [&'static str],
) -> Case {
    Case {
        images,
        name,
        force: false,
        removed,
        said,
    }
}

#[rustfmt::skip]
const DELETE: &[Case] = &[
    case(&[], "nothingthere", &[], &["No such image: nothingthere:latest"]),
    case(&[("L/justoneimage:latest", "A")], "justoneimage", &["L/justoneimage:latest"],
        &["Untagged: justoneimage:latest", "Deleted: A"]),
    case(&[("L/justoneref:latest", "A"), ("L/differentrepo:latest", "A")], "justoneref",
        &["L/justoneref:latest"], &["Untagged: justoneref:latest"]),
    case(&[("L/hasdigest:latest", "A"), ("L/hasdigest@<A>", "A")], "hasdigest",
        &["L/hasdigest:latest", "L/hasdigest@<A>"],
        &["Untagged: hasdigest:latest", "Untagged: hasdigest@<A>", "Deleted: A"]),
    case(&[("L/byid:latest", "A"), ("L/byid@<A>", "A")], "<A>",
        &["L/byid:latest", "L/byid@<A>"],
        &["Untagged: byid:latest", "Untagged: byid@<A>", "Deleted: A"]),
    case(&[("L/bydigest:latest", "A"), ("L/bydigest@<A>", "A")], "bydigest@<A>",
        &["L/bydigest:latest", "L/bydigest@<A>"],
        &["Untagged: bydigest:latest", "Untagged: bydigest@<A>", "Deleted: A"]),
    case(&[("L/onerefoftwo:latest", "A"), ("L/onerefoftwo:other", "A"), ("L/onerefoftwo@<A>", "A")],
        "onerefoftwo", &["L/onerefoftwo:latest"], &["Untagged: onerefoftwo:latest"]),
    case(&[("L/otherreporemaining:latest", "A"), ("L/otherreporemaining@<A>", "A"),
           ("L/someotherrepo:latest", "A")],
        "otherreporemaining", &["L/otherreporemaining:latest", "L/otherreporemaining@<A>"],
        &["Untagged: otherreporemaining:latest", "Untagged: otherreporemaining@<A>"]),
    case(&[("L/repoanddigest:latest", "A"), ("L/repoanddigest:latest@<A>", "A"),
           ("L/someotherrepo:latest", "A")],
        "repoanddigest@<A>", &["L/repoanddigest:latest", "L/repoanddigest:latest@<A>"],
        &["Untagged: repoanddigest:latest", "Untagged: repoanddigest:latest@<A>"]),
    case(&[("L/othertags:v1", "A"), ("L/othertags:v1@<A>", "A"), ("L/othertags:v2", "A"),
           ("L/othertags:v2@<A>", "A"), ("L/someotherrepo:latest", "A")],
        "othertags@<A>",
        &["L/othertags:v1", "L/othertags:v1@<A>", "L/othertags:v2", "L/othertags:v2@<A>"],
        &["Untagged: othertags:v1", "Untagged: othertags:v1@<A>", "Untagged: othertags:v2",
          "Untagged: othertags:v2@<A>"]),
    case(&[("L/someotherrepo:latest", "A")], "zerocase@<A>", &[],
        &["No such image: zerocase@<A>"]),
];

#[rustfmt::skip]
const UBUNTU: Images = &[
    ("L/ubuntu:latest", "A"), ("L/ubuntu:latest@<A>", "A"), ("L/ubuntu:latest@<B>", "B"),
    ("L/abcdef:latest", "C"), ("L/abcdef:latest@<C>", "C"), ("L/sha256:defcab", "D"),
];

#[rustfmt::skip]
const LOOKUP: &[Case] = &[
    case(UBUNTU, "ubuntu", &["L/ubuntu:latest", "L/ubuntu:latest@<A>"],
        &["Untagged: ubuntu:latest", "Untagged: ubuntu:latest@<A>", "Deleted: A"]),
    case(UBUNTU, "<A>", &["L/ubuntu:latest", "L/ubuntu:latest@<A>"],
        &["Untagged: ubuntu:latest", "Untagged: ubuntu:latest@<A>", "Deleted: A"]),
    case(UBUNTU, "ubuntu@<B>", &["L/ubuntu:latest@<B>"],
        &["Untagged: ubuntu:latest@<B>", "Deleted: B"]),
    case(UBUNTU, "ubuntu:latest@<B>", &["L/ubuntu:latest@<B>"],
        &["Untagged: ubuntu:latest@<B>", "Deleted: B"]),
    case(UBUNTU, "ubuntu@<E>", &[], &["No such image: ubuntu@<E>"]),
    case(UBUNTU, "ubuntu:nonexistent", &[], &["No such image: ubuntu:nonexistent"]),
    case(UBUNTU, "abcdef", &["L/abcdef:latest", "L/abcdef:latest@<C>"],
        &["Untagged: abcdef:latest", "Untagged: abcdef:latest@<C>", "Deleted: C"]),
    case(UBUNTU, "sha256:abcdef", &[], &["No such image: sha256:abcdef"]),
    case(UBUNTU, "<C:short>", &["L/abcdef:latest", "L/abcdef:latest@<C>"],
        &["Untagged: abcdef:latest", "Untagged: abcdef:latest@<C>", "Deleted: C"]),
    case(UBUNTU, "sha256:defcab", &["L/sha256:defcab"],
        &["Untagged: sha256:defcab", "Deleted: D"]),
    case(UBUNTU, "<E>", &[], &["No such image: <E>"]),
    case(UBUNTU, "", &[], &["image name cannot be blank"]),
    case(UBUNTU, " ", &[], &["image name cannot be blank"]),
    case(UBUNTU, "UBUNTU", &[],
        &["invalid reference format: repository name (library/UBUNTU) must be lowercase"]),
    case(&[("L/y:1", "Y"), ("L/x:1", "A"), ("L/x:2", "B")], "<A:three>", &[],
        &["No such image: <A:three>:latest"]),
];

#[rustfmt::skip]
const OURS: &[Case] = &[
    // A name that Docker cannot address is found by itself.
    case(&[("myimg", "A"), ("L/x:1", "A")], "myimg", &["myimg"], &["Untagged: myimg"]),
    case(&[("Weird Name", "A")], "Weird Name", &["Weird Name"],
        &["Untagged: Weird Name", "Deleted: A"]),
    // What has no name goes with the last that is one.
    case(&[("moby-dangling@<A>", "A"), ("L/x:1", "A")], "x:1", &["L/x:1", "moby-dangling@<A>"],
        &["Untagged: x:1", "Deleted: A"]),
    case(&[("moby-dangling@<A>", "A")], "<A>", &["moby-dangling@<A>"], &["Deleted: A"]),
    case(&[("moby-dangling@<A>", "A")], "moby-dangling@<A>", &["moby-dangling@<A>"],
        &["Deleted: A"]),
    case(&[("L/x:1", "A"), ("L/y:1", "A")], "<A>", &[],
        &["conflict: unable to delete <A:12> (must be forced) - image is referenced in multiple \
           repositories"]),
    Case { force: true, ..case(&[("L/x:1", "A"), ("L/y:1", "A")], "<A>", &["L/x:1", "L/y:1"],
        &["Untagged: x:1", "Untagged: y:1", "Deleted: A"]) },
    case(&[("L/x:latest", "A")], "index.docker.io/library/x", &["L/x:latest"],
        &["Untagged: x:latest", "Deleted: A"]),
];

fn text(template: &str) -> String {
    let mut text = template.to_owned();
    for target in ["A", "B", "C", "D", "E"] {
        let hex = digest(target).hex();
        text = text
            .replace(&format!("<{target}>"), &id(target))
            .replace(&format!("<{target}:12>"), &hex[..12])
            .replace(&format!("<{target}:short>"), &hex[..8])
            .replace(&format!("<{target}:three>"), &hex[..3]);
    }
    match text.strip_prefix("L/") {
        Some(rest) => library(rest),
        None => text,
    }
}

fn world(images: &[(&str, &str)]) -> World {
    let mut world = World::new();
    for (name, target) in images {
        world.image(&text(name), target);
    }
    world
}

fn remove(world: &World, names: &[&str], force: bool) -> Outcome {
    remove_with(
        world,
        NamedImages {
            names: names.iter().map(|it| (*it).to_owned()).collect(),
            force,
            prune_parents: true,
        },
    )
}

fn remove_with(world: &World, images: NamedImages) -> Outcome {
    world.decide(&ResolvedRequest::new(
        World::NAMESPACE.parse().unwrap(),
        images,
    ))
}

/// What is said of a name: rows with the names of targets, or the error.
fn said(named: &Named) -> Vec<String> {
    match named.outcome() {
        Err(error) => vec![error.to_string()],
        Ok(removal) => {
            let untagged = removal.untagged.iter();
            let deleted = removal.deleted.iter();
            untagged
                .map(|name| format!("Untagged: {name}"))
                .chain(deleted.map(|digest| format!("Deleted: {digest}")))
                .collect()
        }
    }
}

fn expected(said: &[&str]) -> Vec<String> {
    let targets = ["A", "B", "C", "D", "E"];
    let of = |line: &&str| match line.strip_prefix("Deleted: ") {
        Some(target) if targets.contains(&target) => format!("Deleted: {}", id(target)),
        _ => text(line),
    };
    said.iter().map(of).collect()
}

#[test]
fn follows_dockers_tables() {
    for case in DELETE.iter().chain(LOOKUP).chain(OURS) {
        let name = text(case.name);
        // Typed names stand without the library.
        let name = name.strip_prefix("docker.io/library/").unwrap_or(&name);
        let world = world(case.images);
        let outcome = remove(&world, &[name], case.force);
        let removed: BTreeSet<String> = case.removed.iter().map(|it| text(it)).collect();
        let did: BTreeSet<String> = outcome
            .removed()
            .iter()
            .map(|it| (*it).to_owned())
            .collect();
        assert_eq!(did, removed, "{name} of {:?}", case.images);
        assert_eq!(said(&outcome.plan.named[0]), expected(case.said), "{name}");
    }
}

#[test]
fn takes_several_names_as_so_many_calls() {
    let world = world(&[("L/x:1", "A"), ("L/x:2", "A"), ("L/y:1", "B")]);
    let outcome = remove(&world, &["x:1", "gone", "x:2", "x:1"], false);
    assert_eq!(outcome.removed(), [library("x:1"), library("x:2")]);
    let said: Vec<_> = outcome.plan.named.iter().map(said).collect();
    assert_eq!(said[0], ["Untagged: x:1"]);
    assert_eq!(said[1], ["No such image: gone:latest"]);
    assert_eq!(
        said[2],
        ["Untagged: x:2".to_owned(), format!("Deleted: {}", id("A"))]
    );
    assert_eq!(said[3], ["No such image: x:1"]);
}

#[test]
fn a_whole_id_that_means_nothing_is_reported_as_an_id() {
    let hex = digest("nothing").hex();
    for text in [hex.clone(), format!("sha256:{hex}")] {
        let outcome = remove(&world(&[("L/a:1", "A")]), &[&text], true);
        let words = format!("No such image: sha256:{hex}");
        assert_eq!(said(&outcome.plan.named[0]), [words], "{text}");
    }
}

#[test]
fn a_name_that_is_the_beginning_of_its_own_id_is_an_id() {
    let short = &digest("A").hex()[..12];
    let name = library(&format!("{short}:latest"));
    let world = world(&[(&name, "A"), ("L/other:1", "A")]);
    // By ID all names would go, which must be forced.
    let outcome = remove(&world, &[short], false);
    assert_eq!(outcome.removed(), [""; 0]);
    assert_eq!(remove(&world, &[short], true).removed().len(), 2);
}

#[test]
fn tells_the_beginning_of_several_ids() {
    let mut world = World::new();
    // Digests that begin alike are rare; of five hundred some have four digits in common.
    let targets: Vec<String> = (0..500).map(|it| format!("T{it}")).collect();
    let mut seen = std::collections::BTreeMap::new();
    let pair = targets.iter().find_map(|target| {
        let prefix = digest(target).hex()[..4].to_owned();
        seen.insert(prefix.clone(), target)
            .map(|other| (prefix, other, target))
    });
    let (prefix, one, other) = pair.unwrap();
    world.image(&library("one:1"), one);
    world.image(&library("other:1"), other);
    let outcome = remove(&world, &[&prefix], false);
    assert_eq!(outcome.removed(), [""; 0]);
    assert_eq!(outcome.plan.named[0].error, Some(NotRemoved::Ambiguous));
    // A name wins over IDs that begin like it.
    world.image(&library(&format!("{prefix}:latest")), "A");
    let outcome = remove(&world, &[&prefix], false);
    assert_eq!(outcome.removed(), [library(&format!("{prefix}:latest"))]);
}
