//! Colours: on a terminal, or if they are forced, and never of others.

use reclaim_testkit::{Layer, NewContainer, image};

use crate::rig::{CommandOutput, Rig};

const GREEN: &str = "\u{1b}[32m";
const YELLOW: &str = "\u{1b}[33m";
const BOLD: &str = "\u{1b}[1m";
const RESET: &str = "\u{1b}[0m";

async fn rig() -> Rig {
    let rig = Rig::start().await;
    for (name, seed) in [("app:1", 1), ("used:1", 2)] {
        let name = format!("docker.io/library/{name}");
        let built = image(&name).layers([Layer::random(seed, 1_000)]);
        built.build(&rig.namespace).await.unwrap();
    }
    let used = NewContainer::new("c").image("docker.io/library/used:1");
    rig.namespace.create_container(used).await.unwrap();
    rig
}

/// Removes the codes of colours.
fn plain(text: &str) -> String {
    let mut plain = text.to_owned();
    for code in [GREEN, YELLOW, BOLD, RESET, "\u{1b}[31m"] {
        plain = plain.replace(code, "");
    }
    plain
}

#[tokio::test]
async fn colours_are_only_where_they_are_wanted() {
    let rig = rig().await;
    let list = ["image", "ls"];
    let with = |variable, value, args: &[&str]| {
        rig.reclaim_in("/".as_ref(), (variable, value), args)
            .exits(0)
            .stdout
    };
    let piped = rig.reclaim(&list).exits(0).stdout;
    assert!(!piped.contains('\u{1b}'), "{piped:?}");
    let always = rig
        .reclaim(&["--color", "always", "image", "ls"])
        .exits(0)
        .stdout;
    assert!(
        always.contains(&format!("{YELLOW}unused{RESET}")),
        "{always:?}"
    );
    assert!(
        always.contains(&format!("{GREEN}used{RESET}")),
        "{always:?}"
    );
    assert_eq!(plain(&always), piped);
    assert_eq!(with("CLICOLOR_FORCE", "1", &list), always);
    assert_eq!(with("NO_COLOR", "1", &list), piped);
    let never = ["image", "ls", "--color", "never"];
    assert_eq!(with("CLICOLOR_FORCE", "1", &never), piped);
    // A column more, and the same cell.
    let all = rig
        .reclaim(&["image", "ls", "-A", "--color=always"])
        .exits(0)
        .stdout;
    assert!(all.contains(&format!("{YELLOW}unused{RESET}")), "{all:?}");
    let json = ["image", "ls", "--format=json", "--color=always"];
    assert_eq!(
        rig.reclaim(&json).exits(0).json()["images"][0]["verdict"],
        "unused"
    );
    let template = ["image", "ls", "--format={{.Verdict}}", "--color=always"];
    assert_eq!(rig.reclaim(&template).exits(0).stdout, "unused\nused\n");
    let refused = rig.reclaim(&["image", "ls", "--color", "red"]).exits(2);
    assert!(
        refused.stderr.contains("auto, always, never"),
        "{refused:#?}"
    );
}

#[tokio::test]
async fn amounts_and_messages_stand_out() {
    let rig = rig().await;
    let always = |typed: &str, args: &[&str]| -> CommandOutput {
        rig.reclaim_with(typed, &[&["--color", "always"], args].concat())
    };
    let dry = always("", &["image", "prune", "-a", "--dry-run"]).exits(0);
    let expected = format!("{BOLD}Would remove 1 image and reclaim ");
    assert!(dry.stdout.contains(&expected), "{dry:#?}");
    let asked = always("n\n", &["image", "prune", "-a"]).exits(0);
    assert!(
        asked.stderr.contains(&format!("{BOLD}1 image, ")),
        "{asked:#?}"
    );
    let df = always("", &["df"]).exits(0).stdout;
    let row = df.lines().nth(1).unwrap();
    assert!(
        row.contains(BOLD) && row.ends_with(&format!("%){RESET}")),
        "{df:?}"
    );
    let failed = always("", &["image", "rm", "nothing:1"]).exits(1);
    assert!(
        failed
            .stderr
            .starts_with("\u{1b}[1m\u{1b}[31merror:\u{1b}[0m "),
        "{failed:#?}"
    );
    let pruned = always("", &["image", "prune", "-af"]).exits(0);
    assert!(
        !pruned.stdout.contains('\u{1b}'),
        "docker's lines: {pruned:#?}"
    );
}
