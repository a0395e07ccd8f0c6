//! Compose's rules of which images go with a project, rule by rule and case by case, with what
//! is ours.

use std::collections::{BTreeMap, BTreeSet};

use reclaim_model::{
    KeepReason, NotRemoved, PROJECT_LABEL, Project, ProjectImageMode, ProjectImages, ProjectUsage,
    ResolvedRequest, SERVICE_LABEL, Separator, Service, SnapshotSizes,
};
use reclaim_plan::{Existence, Listed, choose, projects};

use crate::world::{ContainerExt, Outcome, Part, RecordExt, World, chain, dangling, id, library};

use ProjectImageMode::{All, Built, Local, None as Nothing};

fn seen(world: &World) -> Vec<ProjectUsage> {
    seen_with(world, Separator::Hyphen)
}

fn seen_with(world: &World, separator: Separator) -> Vec<ProjectUsage> {
    let namespace = World::NAMESPACE.parse().unwrap();
    projects(
        &world.inventory(),
        &[],
        &namespace,
        &SnapshotSizes::default(),
        separator,
    )
}

/// Services with the images that they name.
type Services = &'static [(&'static str, Option<&'static str>)];

/// A labelled image: its service, and its names; without any it is dangling.
type Labelled = (&'static str, &'static [&'static str]);

/// One decision.
struct Case {
    number: &'static str,
    services: Services,
    labelled: &'static [Labelled],
    /// Names that the engine reports as missing.
    missing: &'static [&'static str],
    mode: ProjectImageMode,
    separator: Separator,
    remove_orphans: bool,
    only: Option<&'static [&'static str]>,
    chosen: &'static [&'static str],
}

const CASE: Case = Case {
    number: "",
    services: &[],
    labelled: &[],
    missing: &[],
    mode: Built,
    separator: Separator::Hyphen,
    remove_orphans: false,
    only: None,
    chosen: &[],
};

/// The project of Compose's own test, `TestDownRemoveImages`.
const SHOP: Services = &[
    ("local-anonymous", None),
    ("local-named", Some("local-named-image")),
    ("no-images-anonymous", None),
    ("no-images-named", Some("missing-named-image")),
    ("remote", Some("remote-image")),
    (
        "remote-tagged",
        Some("registry.example.com/remote-image-tagged:v1.0"),
    ),
];
const SHOP_LABELLED: &[Labelled] = &[
    ("local-anonymous", &["testproject-local-anonymous:latest"]),
    ("local-named", &["local-named-image:latest"]),
];
const SHOP_MISSING: &[&str] = &["testproject-no-images-anonymous", "missing-named-image"];
const SHOP_CASE: Case = Case {
    services: SHOP,
    labelled: SHOP_LABELLED,
    missing: SHOP_MISSING,
    ..CASE
};

const WEB: Services = &[("web", None)];
const NAMED: Services = &[("web", Some("acme/web:1"))];

#[rustfmt::skip]
const CASES: &[Case] = &[
    Case { number: "CP1", chosen: &["local-named-image:latest", "testproject-local-anonymous:latest"],
        ..SHOP_CASE },
    Case { number: "CP1, local", mode: Local, chosen: &["testproject-local-anonymous:latest"],
        ..SHOP_CASE },
    Case { number: "CP2", mode: All,
        chosen: &["local-named-image:latest", "registry.example.com/remote-image-tagged:v1.0",
            "remote-image:latest", "testproject-local-anonymous:latest"],
        ..SHOP_CASE },
    Case { number: "CP3", services: &[("service1", None)], chosen: &["testproject-service1:latest"], ..CASE },
    Case { number: "CP3, local", services: &[("service1", None)], mode: Local,
        chosen: &["testproject-service1:latest"], ..CASE },
    Case { number: "CP4", mode: Nothing, chosen: &[], ..SHOP_CASE },
    // A digest-only name is no tag: neither Compose nor we take such an image by its label.
    Case { number: "CP8, ours", services: WEB, labelled: &[("web", &["testproject-web:latest", "me/web:1"])],
        chosen: &["me/web:1", "testproject-web:latest"], ..CASE },
    Case { number: "CP9", services: NAMED, mode: All, chosen: &["acme/web:1"], ..CASE },
    Case { number: "CP10", services: &[("a", Some("x")), ("b", Some("x:latest"))], mode: All,
        labelled: &[("a", &["x:latest"])], chosen: &["x:latest"], ..CASE },
    Case { number: "CP11", services: &[("a", Some("docker.io/library/x")), ("b", Some("index.docker.io/x"))],
        mode: All, chosen: &["x:latest"], ..CASE },
    Case { number: "CP19", mode: All, services: &[("a", Some(
            "acme/x@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"))],
        chosen: &["acme/x@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"], ..CASE },
    Case { number: "CP21", services: WEB, labelled: &[("web", &[]), ("gone", &[])], missing: &["testproject-web"],
        chosen: &["id of web"], ..CASE },
    Case { number: "CP21, orphans", services: WEB, labelled: &[("web", &[]), ("gone", &[])],
        missing: &["testproject-web"], remove_orphans: true, chosen: &["id of gone", "id of web"], ..CASE },
    Case { number: "P2b, orphan", services: WEB, labelled: &[("gone", &["testproject-gone:latest"])],
        missing: &["testproject-web"], chosen: &[], ..CASE },
    Case { number: "P2b, orphans", services: WEB, labelled: &[("gone", &["testproject-gone:latest"])],
        missing: &["testproject-web"], remove_orphans: true, chosen: &["testproject-gone:latest"], ..CASE },
    Case { number: "P2b, local and orphans", services: NAMED, labelled: &[("web", &["acme/web:1"])], mode: Local,
        remove_orphans: true, chosen: &["acme/web:1"], ..CASE },
    Case { number: "P4, unparsable", services: &[("a", Some("UPPER"))], mode: All, chosen: &["UPPER"], ..CASE },
    Case { number: "P5", services: NAMED, labelled: &[("web", &["acme/web:1"])], chosen: &["acme/web:1"], ..CASE },
    Case { number: "P5, pulled", services: NAMED, chosen: &[], ..CASE },
    Case { number: "P5, local", services: NAMED, labelled: &[("web", &["acme/web:1"])], mode: Local,
        chosen: &[], ..CASE },
    Case { number: "P5, local, dangling", services: NAMED, labelled: &[("web", &[])], mode: Local,
        chosen: &["id of web"], ..CASE },
    // Compose removes for the whole project, whatever services were named.
    Case { number: "P8, ours", only: Some(&["remote"]), mode: All, chosen: &["remote-image:latest"], ..SHOP_CASE },
    Case { number: "P8, ours, labelled", only: Some(&["local-named"]), chosen: &["local-named-image:latest"],
        ..SHOP_CASE },
    Case { number: "P8, ours, orphans", only: Some(&["web"]), services: WEB, remove_orphans: true,
        labelled: &[("gone", &["testproject-gone:latest"])], chosen: &["testproject-web:latest"], ..CASE },
    Case { number: "shared with one not named", only: Some(&["web"]), mode: All,
        services: &[("web", Some("acme/app")), ("worker", Some("acme/app:latest"))], chosen: &[], ..CASE },
    // docker/compose#9655: a name without labels is a default name only with its own separator.
    Case { number: "hyphen", services: WEB, missing: &["testproject-web"], chosen: &[], ..CASE },
    Case { number: "underscore", services: WEB, separator: Separator::Underscore,
        missing: &["testproject-web"], chosen: &["testproject_web:latest"], ..CASE },
    Case { number: "underscore, labelled", services: WEB, separator: Separator::Underscore,
        missing: &["testproject_web"], labelled: &[("web", &["testproject-web:latest"])],
        chosen: &["testproject-web:latest"], ..CASE },
    Case { number: "shared by all", mode: All,
        services: &[("web", Some("acme/app")), ("worker", Some("acme/app:latest"))],
        chosen: &["acme/app:latest"], ..CASE },
];

fn request(case: &Case) -> ProjectImages {
    let services = case.services.iter().map(|(name, image)| {
        let image = image.map(str::to_owned);
        ((*name).to_owned(), Service { image })
    });
    ProjectImages {
        project: Project {
            name: "testproject".parse().unwrap(),
            services: services.collect(),
            separator: case.separator,
        },
        from_containers: false,
        mode: case.mode,
        remove_orphans: case.remove_orphans,
        services: case
            .only
            .map(|only| only.iter().map(|it| (*it).to_owned()).collect()),
    }
}

fn project_labels(project: &str, service: &str) -> BTreeMap<String, String> {
    [(PROJECT_LABEL, project), (SERVICE_LABEL, service)]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

fn listed(case: &Case) -> Vec<Listed> {
    let listed = case.labelled.iter().map(|(service, names)| Listed {
        id: format!("id of {service}"),
        names: names.iter().map(|it| (*it).to_owned()).collect(),
        is_dangling: names.is_empty(),
        labels: project_labels("testproject", service),
    });
    let other = Listed {
        id: "other".to_owned(),
        names: vec!["other-web:latest".to_owned()],
        is_dangling: false,
        labels: project_labels("other", "web"),
    };
    // CP7: one that has a digest only.
    let by_digest = Listed {
        id: "by digest".to_owned(),
        labels: project_labels("testproject", "web"),
        ..Listed::default()
    };
    listed.chain([other, by_digest]).collect()
}

#[test]
fn follows_composes_table() {
    for case in CASES {
        let chosen = choose(&request(case), &listed(case), |name| {
            // CP9: what the engine cannot tell is tried.
            if case.missing.contains(&name) {
                Existence::No
            } else {
                Existence::Unknown
            }
        });
        let images: Vec<&str> = chosen.iter().map(|it| it.image.as_str()).collect();
        assert_eq!(images, case.chosen, "{}", case.number);
    }
}

#[test]
fn tells_the_services_that_an_image_is_for() {
    let case = Case {
        services: &[
            ("api", None),
            ("web", Some("a/b")),
            ("worker", Some("a/b:latest")),
        ],
        labelled: &[("api", &["testproject-api:latest", "a/b:latest"])],
        mode: All,
        ..CASE
    };
    let chosen = choose(&request(&case), &listed(&case), |_| Existence::Yes);
    let services = |at: usize| -> Vec<&str> {
        let services = chosen[at].services.iter();
        services.map(String::as_str).collect()
    };
    assert_eq!(chosen[0].image, "a/b:latest");
    assert_eq!(services(0), ["api", "web", "worker"]);
    assert_eq!(services(1), ["api"]);
}

#[test]
fn the_order_in_which_an_engine_lists_does_not_matter() {
    for case in CASES {
        let mut listed = listed(case);
        let there = |name: &str| {
            if case.missing.contains(&name) {
                Existence::No
            } else {
                Existence::Yes
            }
        };
        let chosen = choose(&request(case), &listed, there);
        listed.reverse();
        assert_eq!(
            choose(&request(case), &listed, there),
            chosen,
            "{}",
            case.number
        );
    }
}

/// An image that Compose built, and its names.
fn built(world: &mut World, target: &str, service: &str, names: &[&str]) {
    let own = format!("{target}.layer");
    world.manifest(
        target,
        Part {
            layers: &["base", &own],
            labels: &[(PROJECT_LABEL, "testproject"), (SERVICE_LABEL, service)],
            ..Part::default()
        },
    );
    for name in names {
        world.record(name, target);
    }
}

fn remove(world: &World, images: ProjectImages) -> Outcome {
    world.decide(&ResolvedRequest::new(
        World::NAMESPACE.parse().unwrap(),
        images,
    ))
}

/// CP12, CP16, CP17: what the engine refuses is reported and stays, and other names keep images.
#[test]
fn a_pinned_image_stays_when_its_project_goes() {
    let mut world = World::new();
    let web = library("testproject-web:latest");
    built(&mut world, "A", "web", &[&web]);
    let record = &mut world.here().images[0];
    RecordExt::label(record, "io.cri-containerd.pinned", "pinned");
    let case = Case {
        services: &[("web", None)],
        ..CASE
    };
    let outcome = remove(&world, request(&case));
    assert_eq!(outcome.removed(), [""; 0]);
    assert_eq!(outcome.reason(&web), KeepReason::Pinned);
    let error = &outcome.plan.named[0].error;
    assert!(matches!(error, Some(NotRemoved::Conflict(_))));
}

#[test]
fn the_engines_own_rule_has_the_last_word() {
    let mut world = World::new();
    let web = library("testproject-web:latest");
    let api = library("testproject-api:latest");
    let db = library("testproject-db:latest");
    built(&mut world, "A", "web", &[&web]);
    built(&mut world, "B", "api", &[&api, "quay.io/team/api:1"]);
    built(&mut world, "C", "db", &[&db]);
    built(&mut world, "D", "old", &[&dangling("D")]);
    world.image(&library("unrelated:1"), "E");
    // Of another project.
    world.container("c", "testproject-db").of("C");
    let case = Case {
        services: &[("web", None), ("api", None), ("db", None)],
        ..CASE
    };
    let outcome = remove(&world, request(&case));
    assert_eq!(
        outcome.removed(),
        [api.as_str(), &web, "quay.io/team/api:1"]
    );
    let named = &outcome.plan.named;
    let asked: Vec<&str> = named.iter().map(|it| it.name.as_str()).collect();
    let expected = [
        "quay.io/team/api:1",
        "testproject-api:latest",
        "testproject-db:latest",
        "testproject-web:latest",
    ];
    assert_eq!(asked, expected);
    assert!(matches!(named[2].error, Some(NotRemoved::Conflict(_))));
    assert_eq!(named[2].services, ["db"]);
    let orphans = ProjectImages {
        remove_orphans: true,
        ..request(&case)
    };
    let outcome = remove(&world, orphans);
    assert_eq!(outcome.removed().len(), 4);
    outcome.removal(&dangling("D"));
    // Only what was labelled with the project or named by it.
    outcome.reason(&library("unrelated:1"));
}

/// A name of a service that has another user's tag beside it only loses that name.
#[test]
fn what_is_not_there_is_not_asked_for() {
    let mut world = World::new();
    let web = library("testproject-web:latest");
    built(&mut world, "A", "web", &[&web]);
    let case = Case {
        services: &[("api", None), ("web", None)],
        mode: All,
        ..CASE
    };
    let mut images = request(&case);
    // The digest is there, but not in that repository.
    let elsewhere = Service {
        image: Some(format!("acme/x@{}", id("A"))),
    };
    images.project.services.insert("x".to_owned(), elsewhere);
    let outcome = remove(&world, images);
    assert_eq!(outcome.removed(), [web]);
    assert_eq!(outcome.plan.named.len(), 1);
}

#[test]
fn another_tag_keeps_the_content() {
    let mut world = World::new();
    let mine = library("mine:1");
    world.image(&library("app:1"), "A");
    world.image(&mine, "A");
    let case = Case {
        services: &[("web", Some("app:1"))],
        mode: All,
        ..CASE
    };
    let outcome = remove(&world, request(&case));
    assert_eq!(outcome.removed(), [library("app:1")]);
    assert_eq!(outcome.amount().total_bytes(), 0);
}

/// P7: without a file the project is what its containers say.
#[test]
fn is_put_together_from_containers() {
    let mut world = World::new();
    built(
        &mut world,
        "A",
        "web",
        &[&library("testproject-web:latest")],
    );
    built(&mut world, "B", "api", &["quay.io/team/api:1"]);
    built(
        &mut world,
        "C",
        "old",
        &[&library("testproject-old:latest")],
    );
    world.image(&library("postgres:17"), "D");
    let from_containers = |mode| ProjectImages {
        from_containers: true,
        mode,
        ..request(&CASE)
    };
    assert_eq!(remove(&world, from_containers(Built)).removed(), [""; 0]);
    let mut add = |name: &str, service: &str, image: &str, target: &str| {
        let container = world.container(name, image);
        container.of(target);
        container.labels = project_labels("testproject", service);
        // The container has ended and is about to go; here it only tells of its service.
        container.image_digest = None;
    };
    add("c1", "web", "docker.io/library/testproject-web:latest", "A");
    add("c2", "api", "quay.io/team/api:1", "B");
    add("c3", "db", "postgres:17", "D");
    let refused = |mode| -> BTreeSet<String> {
        let outcome = remove(&world, from_containers(mode));
        let named = outcome.plan.named.iter();
        named.map(|it| it.name.clone()).collect()
    };
    let names =
        |names: &[&str]| -> BTreeSet<String> { names.iter().map(|it| (*it).to_owned()).collect() };
    let web = "testproject-web:latest";
    let api = "quay.io/team/api:1";
    assert_eq!(refused(Local), names(&[web]));
    assert_eq!(refused(Built), names(&[web, api]));
    assert_eq!(refused(All), names(&[web, api, "postgres:17"]));

    let seen = seen(&world);
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].containers, 3);
    let images: Vec<&str> = seen[0].images.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(images.len(), 4, "{images:?}");
    let services: Vec<_> = seen[0].services.iter().collect();
    let image = |at: usize| seen[0].service_images.get(services[at]).map(String::as_str);
    assert_eq!(services[0], "api");
    assert_eq!(image(0), Some(api));
    assert_eq!(image(1), Some("postgres:17"));
    assert_eq!((services[2].as_str(), image(2)), ("old", None));
    assert_eq!((services[3].as_str(), image(3)), ("web", None));
}

/// An image without a label belongs to no project.
#[test]
fn each_project_has_its_own_images() {
    let mut world = World::new();
    let (web, named) = (library("testproject-web:latest"), library("named:1"));
    built(&mut world, "A", "web", &[&web]);
    world.image(&named, "B");
    world.image(&library("unrelated:1"), "C");
    for (project, service, image) in [("testproject", "db", "named:1"), ("other", "x", "gone:1")] {
        let container = world.container(service, image);
        container.labels = project_labels(project, service);
    }
    let seen = seen(&world);
    let reported = seen.iter().map(|it| {
        let images = it.images.iter().map(|image| {
            let services: Vec<&str> = image.services.iter().map(String::as_str).collect();
            (image.name.as_str(), services)
        });
        (it.project.as_str(), images.collect::<Vec<_>>())
    });
    let expected = [
        ("other", Vec::new()),
        (
            "testproject",
            vec![(named.as_str(), vec!["db"]), (web.as_str(), vec!["web"])],
        ),
    ];
    assert_eq!(reported.collect::<Vec<_>>(), expected);
}

/// A name with the other separator may be one that a user chose.
#[test]
fn default_names_have_the_separator_of_the_mode() {
    let mut world = World::new();
    let [hyphen, underscore] = ["testproject-web:latest", "testproject_web:latest"].map(library);
    world.image(&hyphen, "A");
    world.image(&underscore, "B");
    let container = world.container("web", "");
    container.labels = project_labels("testproject", "web");
    for (separator, expected) in [
        (Separator::Hyphen, &hyphen),
        (Separator::Underscore, &underscore),
    ] {
        let seen = seen_with(&world, separator);
        let names: Vec<&str> = seen[0].images.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, [expected.as_str()], "{separator:?}");
        assert!(seen[0].rmi_local.content_bytes > 0, "{seen:?}");
    }
}

#[test]
fn an_unreadable_image_belongs_to_no_project() {
    let mut world = World::new();
    built(&mut world, "A", "web", &["quay.io/team/web:1"]);
    world.corrupt("A.config");
    let case = Case {
        services: NAMED,
        ..CASE
    };
    assert_eq!(remove(&world, request(&case)).removed(), [""; 0]);
    // A name that the project gives still counts as a name.
    let mut world = World::new();
    world.image("quay.io/team/web:1", "A");
    world.corrupt("A.config");
    world.active("work", &chain("base+A.layer"));
    world.lease("holder", &[crate::world::snapshot("work")]);
    let case = Case {
        services: &[("web", Some("quay.io/team/web:1"))],
        mode: All,
        ..CASE
    };
    let outcome = remove(&world, request(&case));
    assert_eq!(outcome.removed(), [""; 0]);
    assert!(outcome.plan.named[0].error.is_some());
    assert!(
        world
            .inventory()
            .documents
            .contains_key(&id("A").parse().unwrap())
    );
}
