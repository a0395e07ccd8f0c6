//! Projects of different styles, and the images of their services.

mod cases;

use std::collections::BTreeMap;

use reclaim_compose::load;

use cases::{CASE, CASES, Case, files, projects};

#[test]
fn reads_projects_of_every_style() {
    for case in CASES {
        let loaded =
            load(&files(case)).unwrap_or_else(|error| panic!("{}: {error}", case.directory));
        let services = loaded.project.services.iter();
        let images: BTreeMap<&str, &str> = services
            .map(|(name, service)| (name.as_str(), service.image.as_deref().unwrap_or_default()))
            .collect();
        assert_eq!(
            loaded.project.name.as_str(),
            case.name,
            "{}",
            case.directory
        );
        assert_eq!(
            loaded.project.separator, case.separator,
            "{}",
            case.directory
        );
        assert_eq!(
            images,
            case.images.iter().copied().collect(),
            "{}",
            case.directory
        );
    }
}

#[test]
fn warns_about_variables_that_are_not_set() {
    let case = Case {
        directory: "variables",
        ..CASE
    };
    let loaded = load(&files(&case)).unwrap();
    assert_eq!(
        loaded.warnings,
        ["variable `PROXY` is not set; using an empty string"]
    );
    let files = [".env", "compose.yaml"].map(|name| projects().join("variables").join(name));
    assert_eq!(loaded.files, files);
}

#[test]
fn a_requested_name_takes_precedence() {
    let case = Case {
        directory: "modern",
        environment: &[("COMPOSE_PROJECT_NAME", "other")],
        ..CASE
    };
    let mut files = files(&case);
    assert_eq!(load(&files).unwrap().project.name.as_str(), "other");
    files.name = Some("Mine".to_owned());
    assert_eq!(load(&files).unwrap().project.name.as_str(), "mine");
    files.name = Some("not.mine".to_owned());
    let error = load(&files).unwrap_err().to_string();
    assert!(
        error.starts_with("invalid project name \"not.mine\""),
        "{error}"
    );
}

#[test]
fn named_env_files_replace_the_default_one() {
    let case = Case {
        directory: "variables",
        ..CASE
    };
    let mut files = files(&case);
    files.env_files = vec![
        "../include/infra/.env".into(),
        "../include/team/team.env".into(),
    ];
    let loaded = load(&files).unwrap();
    assert_eq!(loaded.project.services["app"].image.as_deref(), Some(":"));
    files.env_files = vec!["nowhere.env".into()];
    let error = load(&files).unwrap_err().to_string();
    assert!(
        error.starts_with("read `") && error.contains("nowhere.env"),
        "{error}"
    );
}

#[test]
fn every_directory_has_a_case() {
    let entries = std::fs::read_dir(projects()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    for name in names {
        assert!(CASES.iter().any(|case| case.directory == name), "{name}");
    }
}
