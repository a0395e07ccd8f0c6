//! Templates of `image ls --format` and `df --format`.

use reclaim_testkit::{Layer, image};

use crate::rig::Rig;

async fn rig() -> Rig {
    let rig = Rig::start().await;
    for (name, seed, bytes) in [
        ("docker.io/library/app:1", 1, 2_000),
        ("registry.example:5000/team/web:2", 2, 1_000),
        ("not a reference", 3, 500),
    ] {
        let built = image(name).layers([Layer::random(seed, bytes)]);
        built.build(&rig.namespace).await.unwrap();
    }
    rig
}

#[tokio::test]
async fn prints_the_fields_of_images() {
    let rig = rig().await;
    let ls = |format: &str, more: &[&str]| {
        let args = [&["image", "ls", "--format", format], more].concat();
        rig.reclaim(&args).exits(0).stdout
    };
    assert_eq!(
        ls("{{.Repository}}:{{.Tag}} {{.Verdict}}", &[]),
        "app:1 unused\n<none>:<none> unused\nregistry.example:5000/team/web:2 unused\n"
    );
    assert_eq!(
        ls(r"{{.Namespace}}\t{{.Name}}", &["--sort", "size"]),
        "default\tapp:1\ndefault\tregistry.example:5000/team/web:2\ndefault\tnot a reference\n"
    );
    let table = ls(
        r"table {{.Name}}\t{{.Layers}}",
        &["--filter=reference=app:*"],
    );
    let rows: Vec<Vec<&str>> = table
        .lines()
        .map(|it| it.split_whitespace().collect())
        .collect();
    assert_eq!(rows, [["NAME", "LAYERS"], ["app:1", "packed"]]);
    let listed = rig
        .reclaim(&["image", "ls", "--format=json"])
        .exits(0)
        .json();
    let first = &listed["images"][0];
    let digest = first["target"].as_str().unwrap();
    let [short, whole] = [&[][..], &["--no-trunc"]].map(|more| ls("{{.ID}} {{.Digest}}", more));
    let lines = |text: &str| text.lines().next().unwrap().to_owned();
    assert_eq!(lines(&short), format!("{} {digest}", &digest[7..19]));
    assert_eq!(lines(&whole), format!("{digest} {digest}"));
    for line in ls("{{json .}}", &[]).lines() {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(row["Namespace"], "default");
        assert_eq!(row["UsedAt"], "unknown");
    }
}

#[tokio::test]
async fn prints_the_fields_of_namespaces() {
    let rig = rig().await;
    let df = rig.reclaim(&["df", "--format", "{{.Namespace}}: {{.Images}} {{.Active}}"]);
    assert_eq!(df.exits(0).stdout, "default: 3 0\n");
    let table = r"table {{.Namespace}}\t{{.Reclaimable}}";
    let table = rig.reclaim(&["df", "--format", table]).exits(0).stdout;
    assert!(
        table.starts_with("NAMESPACE   PRUNE --ALL\ndefault "),
        "{table}"
    );
}

#[tokio::test]
async fn says_which_fields_there_are() {
    let rig = Rig::start().await;
    for (args, expected) in [
        (
            ["image", "ls", "--format", "{{.Colour}}"],
            "accepted are .Namespace, .Name, .Repository,",
        ),
        (
            ["image", "ls", "--format", "yaml"],
            "accepted are table, json, and templates such as",
        ),
        (["image", "ls", "--format", ""], "--format"),
    ] {
        let refused = rig.reclaim(&args).exits(2);
        assert!(refused.stderr.contains(expected), "{refused:#?}");
    }
    let refused = rig.reclaim(&["df", "--format", "{{.Name}}"]).exits(2);
    assert!(
        refused.stderr.contains("accepted are .Namespace, .Images,"),
        "{refused:#?}"
    );
}
