//! What nerdctl notes in the labels of a container.

use crate::convert::LabelMessage;

/// The label with the keys of the snapshots that a container mounts, as a list in JSON.
///
/// Source: nerdctl, `pkg/labels/labels.go`.
const MOUNTED_SNAPSHOTS: &str = "nerdctl/image-mount-snapshots";

/// Returns the keys of the snapshots that a container mounts in addition to its own. They are in
/// its own snapshotter.
pub(crate) fn mounted_snapshots(labels: &LabelMessage) -> Vec<String> {
    let keys = labels.get(MOUNTED_SNAPSHOTS);
    let keys = keys.and_then(|keys| serde_json::from_str(keys).ok());
    keys.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_list_of_a_label() {
        for (value, expected) in [
            (r#"["a-image-mount","b"]"#, &["a-image-mount", "b"][..]),
            ("[]", &[]),
            ("null", &[]),
            ("[7]", &[]),
            ("a", &[]),
        ] {
            let labels = [(MOUNTED_SNAPSHOTS.to_owned(), value.to_owned())].into();
            assert_eq!(mounted_snapshots(&labels), expected, "{value}");
        }
        assert_eq!(mounted_snapshots(&LabelMessage::new()), [""; 0]);
    }
}
