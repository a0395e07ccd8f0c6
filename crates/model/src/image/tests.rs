use super::*;

#[test]
fn a_document_has_a_kind_if_it_was_read() {
    for (document, kind) in [
        (Document::Index(vec![]), Some(DocumentKind::Index)),
        (Document::Manifest(vec![]), Some(DocumentKind::Manifest)),
        (
            Document::Config(Config::default()),
            Some(DocumentKind::Config),
        ),
        (Document::Torn("cut".to_owned()), None),
        (Document::NotRead("no answer".to_owned()), None),
    ] {
        assert_eq!(document.kind(), kind, "{document:?}");
    }
}

#[test]
fn media_types_of_descriptors_name_kinds_of_documents() {
    for (kind, media_types) in [
        (
            DocumentKind::Index,
            &[
                "oci.image.index.v1+json",
                "docker.distribution.manifest.list.v2+json",
            ][..],
        ),
        (
            DocumentKind::Manifest,
            &[
                "oci.image.manifest.v1+json",
                "docker.distribution.manifest.v2+json",
                "docker.distribution.manifest.v1+prettyjws",
            ],
        ),
        (
            DocumentKind::Config,
            &["oci.image.config.v1+json", "docker.container.image.v1+json"],
        ),
        (
            DocumentKind::Leaf,
            &["oci.image.layer.v1.tar", "OCI.image.index.v1+json"],
        ),
    ] {
        for media_type in media_types {
            let media_type = format!("application/vnd.{media_type}");
            assert_eq!(
                DocumentKind::of_media_type(&media_type),
                kind,
                "{media_type}"
            );
        }
    }
    let kinds = [
        DocumentKind::Index,
        DocumentKind::Config,
        DocumentKind::Leaf,
    ];
    assert_eq!(
        kinds.map(|kind| kind.to_string()),
        ["index", "image config", "leaf"]
    );
}

#[test]
fn only_a_label_that_was_left_out_may_be_there_unseen() {
    let mut config = Config {
        labels: BTreeMap::from([("seen".to_owned(), "1".to_owned())]),
        labels_left_out: 1,
        ..Config::default()
    };
    let kept = BTreeSet::from(["kept".to_owned()]);
    assert!(config.may_have("other", &kept));
    assert!(!config.may_have("seen", &kept));
    assert!(!config.may_have("kept", &kept));
    config.labels_left_out = 0;
    assert!(!config.may_have("other", &kept));
}

const A: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const B: &str = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

fn record(name: &str, labels: &[(&str, &str)]) -> ImageRecord {
    let owned = labels.iter();
    let owned = owned.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    ImageRecord {
        name: name.to_owned(),
        target: Target {
            media_type: String::new(),
            digest: A.parse().unwrap(),
            size: 1,
            annotations: BTreeMap::new(),
        },
        labels: owned.collect(),
        created_at: None,
        updated_at: None,
        gc: GcLabels::parse(labels.iter().copied()),
        expires: None,
    }
}

#[test]
fn a_made_up_name_is_of_a_snapshotter_or_a_day_and_of_its_own_target() {
    let is_made_up = |name: &str| record(name, &[]).has_made_up_name(|it| it == "our-own");
    for prefix in ["overlayfs", "stargz", "our-own", "import-2022-11-18"] {
        assert!(is_made_up(&format!("{prefix}@{A}")), "{prefix}");
        assert!(!is_made_up(&format!("{prefix}@{B}")), "{prefix}");
        assert!(!is_made_up(&format!("docker.io/library/{prefix}@{A}")));
        assert!(!is_made_up(prefix));
    }
    for prefix in [
        "app",
        "",
        "import-",
        "import-2022-11-1",
        "import-2022-11-188",
        "import-2022x11-18",
        "overlayfs:1",
    ] {
        assert!(!is_made_up(&format!("{prefix}@{A}")), "{prefix}");
    }
}

#[test]
fn a_name_that_no_user_gave_is_dangling() {
    let is_dangling = |name: &str| record(name, &[]).is_dangling();
    assert!(is_dangling(&format!("moby-dangling@{A}")));
    assert!(is_dangling(":"));
    assert!(is_dangling("<none>:<none>"));
    assert!(!is_dangling(&format!("moby-dangling@{B}")));
    assert!(!is_dangling("moby-dangling@"));
    assert!(!is_dangling(&format!("docker.io/library/u@{A}")));
    assert!(!is_dangling("Weird Name"));
}

#[test]
fn a_record_without_its_name_keeps_what_it_kept() {
    let config = "containerd.io/gc.ref.content.config";
    let labels = [
        (EXPIRE, "2026-01-02T03:04:05Z"),
        (NAME_LABELS[0], "app:1"),
        ("team", "shop"),
        (config, B),
    ];
    let nameless = record("docker.io/library/app:1", &labels).without_name();
    assert_eq!(nameless.name, format!("moby-dangling@{A}"));
    assert!(nameless.is_dangling());
    let left: Vec<&str> = nameless.labels.keys().map(|key| &**key).collect();
    assert_eq!(left, [config, "team"]);
    assert_eq!(nameless.gc, GcLabels::parse([(config, B)]));
    assert_eq!(nameless.expires, None);
}

#[test]
fn a_label_that_no_other_could_repeat_cannot_be_held() {
    let kind = "containerd.io/gc.ref.snapshot.native";
    let is_holdable = |key: &str, length: usize| {
        let value = "k".repeat(length);
        record("app", &[(key, value.as_str())]).is_holdable()
    };
    let longest = MAX_LABEL - MAX_INDEX - kind.len();
    for key in [kind, &format!("{kind}/a-name-of-its-own")] {
        assert!(is_holdable(key, longest), "{key}");
        assert!(!is_holdable(key, longest + 1), "{key}");
    }
    assert!(is_holdable("team", MAX_LABEL));
}

#[test]
fn knows_the_builders_parent_and_the_plugins_images() {
    assert_eq!(record("app", &[(PARENT_KEY, B)]).parent(), B.parse().ok());
    assert_eq!(record("app", &[(PARENT_KEY, "B")]).parent(), None);
    assert!(record("app", &[(MANAGED_KEY, MANAGED_VALUE)]).is_cri_managed());
    assert!(!record("app", &[(MANAGED_KEY, "no")]).is_cri_managed());
    assert!(!record("app", &[]).is_cri_managed());
}

#[test]
fn shows_the_familiar_name_or_the_digest() {
    let target = A.parse().unwrap();
    assert_eq!(shown_name("docker.io/library/app:1", &target), "app:1");
    assert_eq!(shown_name("Weird Name", &target), "Weird Name");
    for nameless in [":", "<none>@x", &format!("moby-dangling@{A}")] {
        assert_eq!(shown_name(nameless, &target), A);
    }
}
