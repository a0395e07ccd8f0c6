//! What is protected stays, whichever request selects it, unless the request lifts the protection.

use std::collections::BTreeSet;
use std::sync::Arc;

use reclaim_model::{
    KeepReason, LabelFilter, NamedImages, Namespace, Project, ProjectImageMode, ProjectImages,
    Protection, ResolvedRequest, Separator, Service, Step,
};
use reclaim_plan::decide_again;

use crate::rule::{by_policy, lenient};
use crate::world::{Outcome, Part, RecordExt, World, all, digest, id, library};

fn namespace() -> Namespace {
    World::NAMESPACE.parse().unwrap()
}

/// A world with the unused images `app:1` and `labelled:1`, under this protection.
fn world(protection: Protection) -> World {
    let mut world = World::new();
    for (name, labels) in [("app", &[][..]), ("labelled", &[("keep", "")])] {
        let part = Part {
            layers: &[name],
            labels,
            ..Part::default()
        };
        world.manifest(&name.to_uppercase(), part);
        world.record(&library(&format!("{name}:1")), &name.to_uppercase());
    }
    protect(&mut world, protection);
    world
}

fn protect(world: &mut World, protection: Protection) {
    let here = &mut world.here().protection;
    here.whole = Some(namespace()).filter(|name| protection.namespaces.contains(name));
    here.rules = Arc::new(protection);
}

fn by_name(name: &str) -> ResolvedRequest {
    let images = NamedImages {
        names: vec![name.to_owned()],
        force: true,
        prune_parents: true,
    };
    ResolvedRequest::new(namespace(), images)
}

fn by_project(image: &str) -> ResolvedRequest {
    let service = Service {
        image: Some(image.to_owned()),
    };
    let images = ProjectImages {
        project: Project {
            name: "shop".parse().unwrap(),
            services: [("web".to_owned(), service)].into(),
            separator: Separator::Hyphen,
        },
        from_containers: false,
        mode: ProjectImageMode::All,
        remove_orphans: false,
        services: None,
    };
    ResolvedRequest::new(namespace(), images)
}

/// Every kind of request that selects `NAME:1`, whose target is `NAME` in capitals.
fn requests(name: &str) -> [ResolvedRequest; 5] {
    let tag = format!("{name}:1");
    [
        ResolvedRequest::new(namespace(), all()).may_empty_namespace(true),
        by_policy(&lenient()),
        by_name(&tag),
        by_name(&id(&name.to_uppercase())),
        by_project(&tag),
    ]
}

fn protections() -> [(Protection, &'static str, &'static str); 4] {
    let none = Protection::default;
    [
        (
            Protection {
                references: vec!["app:*".parse().unwrap()],
                ..none()
            },
            "app",
            "rule protect.references app:*",
        ),
        (
            Protection {
                digests: BTreeSet::from([digest("APP")]),
                ..none()
            },
            "app",
            "rule protect.digests",
        ),
        (
            Protection {
                namespaces: BTreeSet::from([namespace()]),
                ..none()
            },
            "app",
            "rule protect.namespaces default",
        ),
        (
            Protection {
                labels: vec![LabelFilter::parse(true, "keep").unwrap()],
                ..none()
            },
            "labelled",
            "rule protect.labels keep",
        ),
    ]
}

#[test]
fn keeps_for_every_kind_of_request_and_names_the_key() {
    for (protection, name, holder) in protections() {
        let record = library(&format!("{name}:1"));
        let world = world(protection);
        for request in requests(name) {
            let outcome = world.decide(&request);
            assert!(!outcome.removed().contains(&record.as_str()), "{request:?}");
            assert_eq!(outcome.reason(&record), KeepReason::Protected);
            assert_eq!(outcome.holders(&record), [holder]);
            for named in &outcome.plan.named {
                let error = named.error.as_ref().unwrap().to_string();
                let expected = format!(
                    "conflict: unable to delete {name}:1 (cannot be forced) - image is protected \
                     by {holder}"
                );
                assert_eq!(error, expected);
            }
        }
    }
}

fn warnings(outcome: &Outcome) -> Vec<String> {
    let steps = outcome.plan.steps.iter();
    steps.filter_map(Step::warning).collect()
}

#[test]
fn goes_with_a_warning_if_the_request_lifts_the_protection() {
    for (protection, name, holder) in protections() {
        let record = library(&format!("{name}:1"));
        let mut world = world(protection);
        world.here().protection.is_lifted = true;
        for request in requests(name) {
            let outcome = world.decide(&request);
            assert!(outcome.removed().contains(&record.as_str()), "{request:?}");
            let warnings: Vec<String> = warnings(&outcome);
            let expected = format!(
                "image `{record}` is protected by {holder}, and the request lifts the protection"
            );
            assert!(warnings.contains(&expected), "{request:?}: {warnings:?}");
        }
    }
    let mut free = world(Protection::default());
    free.here().protection.is_lifted = true;
    assert_eq!(free.prune_all().removed().len(), 2);
    assert!(warnings(&free.prune_all()).is_empty());
}

#[test]
fn the_sandbox_image_of_a_partly_read_configuration_is_kept_by_name_too() {
    let mut world = world(Protection::default());
    world.image("pause:1", "PAUSE");
    world.here().pod_images.is_partial = true;
    assert_eq!(world.prune_all().removed().len(), 3, "no pod runs here");
    world.here().pod_images.stay_without_cri = true;
    for request in requests("pause") {
        let outcome = world.decide(&request);
        assert_eq!(outcome.reason("pause:1"), KeepReason::Protected);
        assert_eq!(outcome.holders("pause:1"), ["rule sandbox image of pods"]);
    }
    world.here().protection.is_lifted = true;
    let removed = |outcome: Outcome| outcome.removed().contains(&"pause:1");
    assert!(requests("pause").iter().all(|it| removed(world.decide(it))));
}

/// The configuration is reloaded while a run removes images.
#[test]
fn a_removed_image_that_is_now_protected_comes_back() {
    for (protection, name, holder) in protections() {
        let record = library(&format!("{name}:1"));
        let world = world(protection);
        for request in requests(name) {
            let removed = BTreeSet::from([record.as_str()]);
            let decision = decide_again(&world.inventory(), &[], &request, &removed);
            let mut kept = decision.kept().iter();
            let kept = kept.find(|kept| kept.name == record).unwrap();
            assert_eq!(kept.reason, KeepReason::Protected, "{request:?}");
            assert_eq!(kept.holders[0].to_string(), holder);
        }
    }
}

#[test]
fn one_protected_name_of_a_cri_image_keeps_all() {
    let mut world = World::new();
    world.image("registry.example/app:1", "APP").cri();
    world
        .record(&format!("registry.example/app@{}", id("APP")), "APP")
        .cri();
    world.record(&id("APP.config"), "APP").cri();
    protect(
        &mut world,
        Protection {
            references: vec!["registry.example/app:1".parse().unwrap()],
            ..Protection::default()
        },
    );
    for request in [
        ResolvedRequest::new(namespace(), all()),
        by_policy(&lenient()),
    ] {
        let outcome = world.decide(&request);
        assert_eq!(outcome.removed(), Vec::<&str>::new());
        assert_eq!(outcome.reason(&id("APP.config")), KeepReason::CriGroup);
    }
    let by_id = world.decide(&by_name(&id("APP.config")));
    assert_eq!(by_id.removed(), Vec::<&str>::new());
}

#[test]
fn another_name_of_a_protected_one_goes() {
    let mut world = world(Protection {
        references: vec!["app:1".parse().unwrap()],
        ..Protection::default()
    });
    world.record(&library("copy:1"), "APP");
    let outcome = world.decide(&by_name("copy:1"));
    assert_eq!(outcome.removed(), [library("copy:1")]);
}
