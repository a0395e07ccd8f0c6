//! Tests of valid files, and of errors in files.

use reclaim_maintenance::settings::Kind;
use reclaim_maintenance::{HeadroomSize, kubelet_warnings};
use reclaim_model::PolicyPart;

use super::*;

/// A file with the keys that other projects rely on.
const PROMISED: &str = r#"
[containerd]
address = "/run/containerd/containerd.sock"
namespaces = ["default", "k8s.io"]

[state]
directory = "/var/lib/reclaim"

[metrics]
listen = "127.0.0.1:9517"

[protect]
references = ["registry.k8s.io/pause:*"]
labels = ["keep"]

[[policy]]
name = "pressure"
all = true
filters = ["label!=hold"]
interval = "5m"
high = "85%"
low = "80%"
min_age = "2m"
unused_for = "0s"
keep_newest = 0
max_images = 0
undo_window = "0s"
dry_run = false
"#;

/// Returns a configuration with the files of containerd and of the kubelet in `folder`.
pub(super) fn config_in(folder: &Path, more: &str) -> Config {
    let text = format!(
        "[containerd]\nconfig = '{folder}/containerd.toml'\nnamespaces = ['k8s.io']\n\
         [kubernetes]\nkubelet_config = '{folder}/kubelet.yaml'\n{more}",
        folder = folder.display()
    );
    parse(&text, Path::new("test.toml")).unwrap()
}

fn parsed(text: &str) -> Result<Config, String> {
    parse(text, Path::new("test.toml")).map_err(|error| error.to_string())
}

fn policy(keys: &str) -> Result<Config, String> {
    parsed(&format!("[[policy]]\nname = \"p\"\n{keys}\n"))
}

#[test]
fn reads_a_file_and_shows_it_with_all_defaults() {
    let config = parsed(PROMISED).unwrap();
    assert_eq!(config.policies.len(), 1);
    assert_eq!(config.policies[0].namespaces.len(), 2);
    let again = parsed(config.effective()).unwrap();
    assert_eq!(again.effective(), config.effective());
    assert!(config.effective().contains("min_age = \"2m\""));
}

/// A file of an earlier version, from before the crates were divided, with every key that it had.
const EARLIER: &str = r#"
[containerd]
address = "/run/containerd/containerd.sock"
namespaces = ["default", "k8s.io"]
config = "/etc/containerd/config.toml"

[kubernetes]
kubelet_config = "/var/lib/kubelet/config.yaml"

[state]
directory = "/var/lib/reclaim"

[metrics]
listen = "127.0.0.1:9517"

[headroom]
size = "32MiB"
file = "/var/lib/containerd/headroom"

[protect]
references = ["registry.k8s.io/pause:*", "~^docker.io/acme/base:"]
digests = ["sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"]
labels = ["keep", "team=base"]
namespaces = ["moby"]
infrastructure = false

[fleet]
turns = 2
namespace = "kube-system"
lease_name = "reclaim-turn"
node = "node-1"
lease_duration = "90s"

[[policy]]
name = "pressure"
enabled = true
namespaces = ["default"]
all = true
filters = ["label!=hold", "until=24h"]
interval = "5m"
jitter = "30s"
startup_delay = "1m"
high = "85%"
low = "80%"
inodes_high = "90%"
inodes_low = "80%"
max_used = "200GB"
reserved = "10GB"
min_age = "2m"
unused_for = "1h"
max_unused = "720h"
keep_newest = 2
last_copies = true
max_images = 100
max_bytes = "50GB"
max_deletes_per_second = 5
max_io_pressure = 40
undo_window = "1h"
unpin_build_history = true
dry_run = true

[[policy]]
name = "nightly"
cron = "0 3 * * *"
time_zone = "Europe/Berlin"
high = "20GB"
low = "30GB"
inodes_high = "100k"
inodes_low = "200k"
"#;

#[test]
fn reads_the_file_of_an_earlier_version() {
    let text = if cfg!(feature = "fleet") {
        EARLIER.to_owned()
    } else {
        EARLIER.replace("turns = 2", "turns = 0")
    };
    let config = parsed(&text).unwrap();
    let names: Vec<&str> = config
        .policies
        .iter()
        .map(|policy| policy.name().as_str())
        .collect();
    assert_eq!(names, ["pressure", "nightly"]);
    let effective = config.effective();
    for key in EARLIER.lines().filter_map(|line| line.split_once(" = ")) {
        let (key, value) = key;
        let is_shown = |line: &str| line.split_once(" = ").is_some_and(|shown| shown.0 == key);
        assert!(
            effective.lines().any(is_shown),
            "{key} = {value}: {effective}"
        );
    }
    let again = parsed(effective).unwrap();
    assert_eq!(again.effective(), effective);
}

#[test]
fn an_empty_file_has_no_policy() {
    assert!(parsed("").unwrap().policies.is_empty());
}

#[test]
#[cfg(feature = "fleet")]
fn a_fleet_exists_only_with_turns() {
    assert_eq!(parsed("[fleet]\nnode = \"a\"\n").unwrap().fleet, None);
    let text = "[fleet]\nturns = 2\nnode = \"a\"\nlease_duration = \"90s\"\n";
    let fleet = parsed(text).unwrap().fleet.unwrap();
    assert_eq!(fleet.at_once.get(), 2);
    assert_eq!(fleet.lease_name, "reclaim-turn");
    assert_eq!(fleet.lease_duration.as_secs(), 90);
    assert_eq!(fleet.critical.to_string(), "95%");
}

#[test]
#[cfg(not(feature = "fleet"))]
fn a_fleet_needs_the_feature() {
    let error = parsed("[fleet]\nturns = 2\n").unwrap_err();
    assert!(error.contains("fleet.turns"), "{error}");
    assert!(
        error.contains("built without the `fleet` feature"),
        "{error}"
    );
}

#[test]
fn checks_disabled_policies_and_drops_them() {
    assert!(policy("enabled = false").unwrap().policies.is_empty());
    assert!(policy("enabled = false\ncron = \"x\"").is_err());
}

/// Invalid keys of a policy, and what the error of each contains.
const WRONG: &[(&str, &[&str])] = &[
    ("hihg = \"85%\"", &["line 3", "hihg", "`high`"]),
    ("high = \"101%\"", &["line 3", "101%", "from 1% to 99%"]),
    (
        "high = \"85%\"",
        &["policy `p`", "high is set and low is not"],
    ),
    (
        "high = \"80%\"\nlow = \"85%\"",
        &["policy `p`", "high `80%`, low `85%`"],
    ),
    ("high = \"80%\"\nlow = \"85GB\"", &["one is a percentage"]),
    ("interval = \"5\"", &["line 3", "from 1s to 720h", "`5`"]),
    ("interval = \"0s\"", &["from 1s to 720h"]),
    ("min_age = \"-5m\"", &["from 0s to 87600h"]),
    ("keep_newest = 1001", &["from 0 to 1000", "1001"]),
    ("max_images = -1", &["from 0 to 1000000", "-1"]),
    (
        "cron = \"61 * * * *\"",
        &["policy `p`", "cron is not", "61 * * * *"],
    ),
    (
        "cron = \"0 3 * * *\"\ntime_zone = \"Mars/Base\"",
        &["time zone", "Mars/Base"],
    ),
    (
        "cron = \"0 3 * * *\"\ninterval = \"5m\"",
        &["both cron and interval"],
    ),
    (
        "interval = \"5m\"\njitter = \"6m\"",
        &["jitter `6m` is more than interval `5m`"],
    ),
    ("time_zone = \"UTC\"", &["time_zone is for cron"]),
    (
        "namespaces = [\"moby\"]",
        &["`moby`", "containerd.namespaces"],
    ),
    ("namespaces = []", &["no namespace"]),
    (
        "filters = [\"lable=x\"]",
        &["policy `p`", "`lable`", "larger-than"],
    ),
    ("filters = [\"until=soon\"]", &["until"]),
    ("filters = [\"dangling=true\"]\nall = true", &["dangling"]),
    (
        "filters = [\"reference=~(\"]",
        &["reference", "regular expression"],
    ),
    ("max_unused = \"1m\"", &["max_unused `1m`", "min_age `2m`"]),
    (
        "max_used = \"1GB\"\nreserved = \"2GB\"",
        &["max_used `1GB`", "reserved `2GB`"],
    ),
    (
        "free = [\"snapshots\", \"image\"]",
        &[
            "line 3",
            "`image` cannot be freed",
            "snapshots, layers, platforms, build-history and images",
        ],
    ),
    (
        "free = []",
        &["policy `p`", "free is empty", "snapshots, layers"],
    ),
    (
        "free = [\"images\", \"layers\", \"images\"]",
        &["policy `p`", "free has `images` twice"],
    ),
    ("free = \"images\"", &["line 3"]),
    (
        "docker_layers = true",
        &["policy `p`", "docker_layers is for layers"],
    ),
    ("max_bytes = \"lots\"", &["size is not", "lots"]),
    ("name = \"q\"", &["duplicate key"]),
];

#[test]
fn a_policy_frees_images_unless_its_file_says_otherwise() {
    use PolicyPart::{BuildHistory, Images, Layers, Platforms, Snapshots};
    for (keys, expected) in [
        ("", vec![Images]),
        ("unpin_build_history = true", vec![BuildHistory, Images]),
        (
            "free = [\"snapshots\", \"images\"]\nunpin_build_history = true",
            vec![BuildHistory, Snapshots, Images],
        ),
        (
            "free = [\"snapshots\", \"build-history\"]\nunpin_build_history = true",
            vec![Snapshots, BuildHistory],
        ),
        (
            "free = [\"platforms\", \"layers\"]\ndocker_layers = true",
            vec![Platforms, Layers],
        ),
    ] {
        let config = policy(keys).unwrap();
        assert_eq!(config.policies[0].free, expected, "{keys}");
        let again = parsed(config.effective()).unwrap();
        assert_eq!(again.policies[0].free, expected, "{keys}");
    }
}

/// An error should have the line or the key, the value, and what is accepted.
#[test]
fn errors_have_the_key_and_what_is_accepted() {
    for (keys, texts) in WRONG {
        let error = policy(keys).unwrap_err();
        for text in *texts {
            assert!(error.contains(text), "{keys}: no {text:?} in {error}");
        }
    }
    for (keys, texts) in [
        ("turns = 1001", &["line 2", "from 0 to 1000", "1001"][..]),
        (
            "lease_duration = \"5s\"",
            &["line 2", "from 15s to 1h", "5s"],
        ),
        (
            "lease_name = \"Turn\"",
            &["fleet.lease_name", "lower-case", "`Turn`"],
        ),
        (
            "namespace = \"-a\"",
            &["fleet.namespace", "1 to 63", "`-a`"],
        ),
        ("node = \"\"", &["fleet.node", "1 to 63", "``"]),
        ("node = \"a.B\"", &["fleet.node", "lower-case", "`B`"]),
        ("critical = \"100%\"", &["line 2", "1% to 99%", "100%"]),
    ] {
        let error = parsed(&format!("[fleet]\n{keys}\n")).unwrap_err();
        for text in texts {
            assert!(error.contains(text), "{keys}: no {text:?} in {error}");
        }
    }
    let error = parsed("[metrics]\nlisten = \"9517\"\n").unwrap_err();
    assert!(
        error.contains("line 2") && error.contains("socket address"),
        "{error}"
    );
    let twice = "[[policy]]\nname = \"p\"\n".repeat(2);
    assert!(
        parsed(&twice)
            .unwrap_err()
            .contains("another policy has this name")
    );
    let error = parsed("[[policy]]\nall = true\n").unwrap_err();
    assert!(error.contains("`name`"), "{error}");
}

/// The list of keys should have exactly the keys that the parser accepts.
#[test]
fn lists_the_keys_that_the_parser_accepts() {
    let keys = ConfigFile::keys();
    let sections: BTreeSet<&str> = keys.iter().map(|key| key.section).collect();
    for section in sections {
        let header = match section {
            "policy" => "[[policy]]".to_owned(),
            section => format!("[{section}]"),
        };
        let error = parsed(&format!("{header}\nno_such_key = 1\n")).unwrap_err();
        let (_, expected) = error.split_once("expected ").unwrap();
        let accepted: BTreeSet<&str> = expected.split('`').skip(1).step_by(2).collect();
        let listed = keys.iter().filter(|key| key.section == section);
        let listed: BTreeSet<&str> = listed.map(|key| key.name).collect();
        assert_eq!(accepted, listed, "{section}");
    }
}

#[test]
fn the_manual_has_every_key() {
    let manual = include_str!("../../../../docs/configuration.md");
    for key in ConfigFile::keys() {
        let default = if key.default.is_empty() {
            "–"
        } else {
            &key.default
        };
        let line = format!(
            "| `{}` | `{default}` | {} | {} |",
            key.name, key.accepts, key.meaning
        );
        let line = line.replace("`–`", "–");
        assert!(
            manual.contains(&line),
            "docs/configuration.md lacks:\n{line}"
        );
    }
}

#[test]
fn the_schema_has_every_key() {
    let schema: serde_json::Value = serde_json::from_str(&schema()).unwrap();
    for key in ConfigFile::keys() {
        let section = &schema["properties"][key.section];
        let section = if key.section == "policy" {
            &section["items"]
        } else {
            section
        };
        let property = &section["properties"][key.name];
        let is_number = matches!(key.kind, Kind::Integer(..));
        assert_eq!(property["type"] == "integer", is_number, "{}", key.name);
    }
}

#[test]
fn headroom_is_automatic_unless_it_has_a_size() {
    let size = |text: &str| parsed(text).map(|config| config.headroom.size);
    assert_eq!(size(""), Ok(Some(HeadroomSize::Auto)));
    for (text, expected) in [
        ("auto", Some(HeadroomSize::Auto)),
        ("8MiB", Some(HeadroomSize::Bytes(8 << 20))),
        ("0", None),
        ("0B", None),
    ] {
        assert_eq!(
            size(&format!("[headroom]\nsize = \"{text}\"\n")),
            Ok(expected)
        );
    }
    let error = size("[headroom]\nsize = \"some\"\n").unwrap_err();
    assert!(error.contains("neither auto nor a size"), "{error}");
    let show = |text: &str| parsed(text).unwrap().effective().to_owned();
    assert!(show("").contains("size = \"auto\""));
    assert!(show("[headroom]\nsize = \"0\"\n").contains("size = \"0B\""));
}

#[test]
fn warns_about_the_kubelet_only_if_there_is_one() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let policy = "[[policy]]\nname = 'p'\nhigh = '90%'\nlow = '80%'";
    let config = config_in(folder, policy);
    let warnings = || kubelet_warnings(&config.policies[0], &config.kubelet_yaml);
    assert!(warnings().is_empty());
    fs::write(folder.join("kubelet.yaml"), "kind: KubeletConfiguration").unwrap();
    assert_eq!(warnings().len(), 2, "{:?}", warnings());
    fs::write(folder.join("kubelet.yaml"), "kind: Nonsense").unwrap();
    assert!(warnings()[0].contains("`Nonsense`"), "{:?}", warnings());
}
