//! Tests of reading the kubelet's configuration.

use super::*;

fn read(text: &str) -> Result<KubeletThresholds, String> {
    format!("kind: KubeletConfiguration\n{text}").parse()
}

/// A part of what kubeadm writes.
const KUBEADM: &str = r"
apiVersion: kubelet.config.k8s.io/v1beta1
authentication:
  anonymous:
    enabled: false
  x509:
    clientCAFile: /etc/kubernetes/pki/ca.crt
cgroupDriver: systemd
clusterDNS:
- 10.96.0.10
containerRuntimeEndpoint: ''
evictionPressureTransitionPeriod: 0s
imageMaximumGCAge: 0s
imageMinimumGCAge: 0s
kind: KubeletConfiguration
logging:
  options:
    json:
      infoBufferSize: '0'
  verbosity: 0
staticPodPath: /etc/kubernetes/manifests
";

#[test]
fn unset_keys_have_the_kubelets_defaults() {
    let defaults = KubeletThresholds::default();
    assert_eq!(KUBEADM.parse(), Ok(defaults.clone()));
    assert_eq!(
        read("imageMinimumGCAge:\nimageMaximumGCAge: null"),
        Ok(defaults)
    );
}

#[test]
fn every_threshold_is_read() {
    let text = "imageGCHighThresholdPercent: 70\n\
                imageGCLowThresholdPercent: 60\n\
                imageMinimumGCAge: 5m0s\n\
                imageMaximumGCAge: 168h\n\
                evictionSoft:\n  imagefs.available: 30%\n\
                evictionHard:\n  imagefs.available: 12.5%\n  nodefs.available: \"1Gi\"\n";
    assert_eq!(
        read(text),
        Ok(KubeletThresholds {
            high: 70,
            low: 60,
            min_age: Duration::from_secs(300),
            max_age: Some(Duration::from_secs(168 * 3600)),
            imagefs: Some(Available::Part(1_250)),
            nodefs: Some(Available::Bytes(1 << 30)),
        })
    );
    // As JSON, which is YAML.
    let json = r#"{"kind": "KubeletConfiguration", "imageGCHighThresholdPercent": 100}"#;
    let read: KubeletThresholds = json.parse().unwrap();
    assert_eq!(read.high, 100);
}

#[test]
fn one_eviction_threshold_replaces_all_defaults_unless_they_are_merged() {
    let one = "evictionHard:\n  memory.available: 200Mi\n";
    let read_one = read(one).unwrap();
    assert_eq!((read_one.imagefs, read_one.nodefs), (None, None));
    let merged = read(&format!("{one}mergeDefaultEvictionSettings: true\n")).unwrap();
    assert_eq!(merged, KubeletThresholds::default());
    for off in ["0%", "100%", "0"] {
        let text = format!("evictionHard:\n  imagefs.available: \"{off}\"\n");
        assert_eq!(read(&text).unwrap().imagefs, None, "{off}");
    }
    assert_eq!(read("evictionHard: {}").unwrap().imagefs, None);
}

#[test]
fn reads_kubernetes_quantities() {
    for (text, bytes) in [
        ("1500M", 1_500_000_000),
        ("1.5Gi", 1_610_612_736),
        ("2k", 2_000),
        ("4096", 4_096),
    ] {
        let text = format!("evictionHard: {{imagefs.available: \"{text}\"}}");
        let read = read(&text).unwrap();
        assert_eq!(read.imagefs, Some(Available::Bytes(bytes)), "{text}");
    }
}

#[test]
fn what_the_kubelet_would_reject_is_an_error() {
    for (text, expected) in [
        (
            "imageGCHighThresholdPercent: 101",
            "not from 0 to 100: `101`",
        ),
        (
            "imageGCHighThresholdPercent: 85%",
            "not from 0 to 100: `85%`",
        ),
        (
            "imageMinimumGCAge: 2 days",
            "not a duration such as 2m0s: `2 days`",
        ),
        ("evictionHard: {imagefs.available: lots}", "`lots`"),
        (
            "evictionHard: {imagefs.available: 9999999Ei}",
            "`9999999Ei`",
        ),
        (
            "imageMinimumGCAge: 1s\nimageMinimumGCAge: 2s",
            "duplicate key",
        ),
        ("a: &x 70\nimageGCHighThresholdPercent: *x", "is an alias"),
        ("b: [", "it is not YAML"),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
    }
    let other = "kind: KubeProxyConfiguration".parse::<KubeletThresholds>();
    assert!(other.unwrap_err().contains("`KubeProxyConfiguration`"));
    let none = "".parse::<KubeletThresholds>();
    assert!(none.unwrap_err().contains("no kind"));
}

/// A truncated file should be an error or mean what its text means, never a guess.
#[test]
fn a_truncated_file_means_what_is_left_of_it() {
    let text = "kind: KubeletConfiguration\nimageGCHighThresholdPercent: 70\n";
    for end in 0..text.len() {
        let read = text[..end].parse::<KubeletThresholds>();
        let high = read.map(|it| it.high);
        // `imageGC…: 7` is a valid file, and means 7.
        assert!(matches!(high, Err(_) | Ok(85 | 7 | 70)), "{end}: {high:?}");
    }
    for end in (0..KUBEADM.len()).filter(|it| KUBEADM.is_char_boundary(*it)) {
        let read = KUBEADM[..end].parse::<KubeletThresholds>();
        if let Ok(read) = read {
            assert_eq!(read, KubeletThresholds::default(), "{end}");
        }
    }
}

#[test]
fn deeply_nested_documents_are_read_in_linear_time() {
    let deep = format!("deep: {}1{}", "[".repeat(200), "]".repeat(200));
    assert!(read(&deep).is_ok());
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(
        read_kubelet(&folder.path().join("none")),
        Ok(None)
    ));
    let error = read_kubelet(folder.path()).unwrap_err();
    assert!(matches!(error, KubeletError::Read { .. }), "{error}");
}
