//! Documents as builders write them, with made-up digests.

use reclaim_model::Digest;
use reclaim_oci::{Document, LabelKeys, Limits, ReadError, digest_of};
use serde_json::{Value, json};

pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub(crate) const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(crate) const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
pub(crate) const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
pub(crate) const EMPTY_CONFIG: &str = "application/vnd.oci.empty.v1+json";

/// Reads a body with its own digest, without a known size, with the default limits.
pub(crate) fn read(body: &[u8]) -> Result<Document, ReadError> {
    let labels = LabelKeys::default();
    reclaim_oci::read(&digest_of(body), None, body, &Limits::default(), &labels)
}

/// Returns the digest of a name, so that each blob of a test has a digest of its own.
pub(crate) fn digest(name: &str) -> Digest {
    digest_of(name.as_bytes())
}

/// Returns a descriptor without optional keys.
pub(crate) fn descriptor(media_type: &str, name: &str, size: u64) -> Value {
    json!({"mediaType": media_type, "digest": digest(name).to_string(), "size": size})
}

pub(crate) fn bytes(document: &Value) -> Vec<u8> {
    serde_json::to_vec_pretty(document).unwrap()
}

pub(crate) fn oci_manifest() -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor(OCI_CONFIG, "config", 1470),
        "layers": [
            descriptor(OCI_LAYER, "base", 3_623_807),
            descriptor(OCI_LAYER, "app", 141),
        ],
        "annotations": {"org.opencontainers.image.base.name": "docker.io/library/alpine:3.20"},
    })
}

pub(crate) fn docker_manifest() -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST,
        "config": descriptor(DOCKER_CONFIG, "docker-config", 1512),
        "layers": [
            descriptor(DOCKER_LAYER, "docker-base", 2_811_478),
            {
                "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
                "digest": digest("foreign").to_string(),
                "size": 1_612_893_008_u64,
                "urls": ["https://mcr.example/foreign"],
            },
        ],
    })
}

/// The index that `docker buildx build --platform linux/amd64,linux/arm/v7 --sbom=true` writes.
pub(crate) fn buildkit_index() -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [
            {
                "mediaType": OCI_MANIFEST,
                "digest": digest("amd64").to_string(),
                "size": 1234,
                "platform": {"architecture": "amd64", "os": "linux"},
            },
            {
                "mediaType": OCI_MANIFEST,
                "digest": digest("arm").to_string(),
                "size": 1235,
                "platform": {"architecture": "arm", "os": "linux", "variant": "v7"},
            },
            {
                "mediaType": OCI_MANIFEST,
                "digest": digest("amd64-attestation").to_string(),
                "size": 840,
                "annotations": {
                    "vnd.docker.reference.digest": digest("amd64").to_string(),
                    "vnd.docker.reference.type": "attestation-manifest",
                },
                "platform": {"architecture": "unknown", "os": "unknown"},
            },
        ],
    })
}

pub(crate) fn docker_list() -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": DOCKER_LIST,
        "manifests": [{
            "mediaType": DOCKER_MANIFEST,
            "size": 528,
            "digest": digest("windows").to_string(),
            "platform": {
                "architecture": "amd64",
                "os": "windows",
                "os.version": "10.0.17763.5936",
                "features": ["sse4"],
            },
        }],
    })
}

/// The manifest that `helm push` writes.
pub(crate) fn helm_manifest() -> Value {
    json!({
        "schemaVersion": 2,
        "config": descriptor("application/vnd.cncf.helm.config.v1+json", "chart", 117),
        "layers": [descriptor("application/vnd.cncf.helm.chart.content.v1.tar+gzip", "tgz", 2487)],
        "annotations": {"org.opencontainers.image.version": "0.1.0"},
    })
}

/// A signature as a referrer: an artifact type, the empty config and a subject.
pub(crate) fn cosign_manifest() -> Value {
    let mut config = descriptor(EMPTY_CONFIG, "{}", 2);
    config["data"] = json!("e30=");
    json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": "application/vnd.dev.cosign.artifact.sig.v1+json",
        "config": config,
        "layers": [descriptor("application/vnd.dev.cosign.simplesigning.v1+json", "sig", 243)],
        "subject": descriptor(OCI_MANIFEST, "signed", 1021),
    })
}

pub(crate) fn image_config() -> Value {
    json!({
        "architecture": "arm64",
        "variant": "v8",
        "os": "linux",
        "created": "2025-11-04T10:20:30.405060708Z",
        "config": {
            "Env": ["PATH=/usr/bin:/bin"],
            "Cmd": ["/bin/sh"],
            "Labels": {"maintainer": "someone", "keep": ""},
            "ExposedPorts": {"80/tcp": {}},
        },
        "container_config": {"Labels": {"not": "these"}},
        "rootfs": {
            "type": "layers",
            "diff_ids": [digest("diff-1").to_string(), digest("diff-2").to_string()],
        },
        "history": [{"created_by": "ADD rootfs / # buildkit", "empty_layer": false}],
        "moby.buildkit.cache.v0": "e30=",
    })
}
