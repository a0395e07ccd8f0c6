//! The images of the bench, by name.
//!
//! The names, the order of the layers and which images share them follow official images for linux/amd64
//! of 2024. The sizes are approximate: they show which layers are large, not the bytes of a release. The
//! last six are three services in two versions each, as teams build them on such images. Nothing is
//! fetched: the layers are filled with generated files.

/// An image: the layers of its base, and its own.
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    /// Another image, or one of [`BASES`]. Empty for none.
    pub(crate) base: &'static str,
    /// The compressed size of each layer in kB, from the lowest on.
    pub(crate) layers: &'static [u32],
    pub(crate) how: How,
}

/// What the host has of an image, and does with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    Unused,
    /// A container uses it.
    Used,
    /// Unused, and here for another platform, too.
    AllPlatforms,
    /// Used, and here for another platform, too.
    UsedAllPlatforms,
}

impl How {
    pub(crate) fn is_used(self) -> bool {
        matches!(self, Self::Used | Self::UsedAllPlatforms)
    }

    pub(crate) fn has_all_platforms(self) -> bool {
        matches!(self, Self::AllPlatforms | Self::UsedAllPlatforms)
    }
}

use How::{AllPlatforms, Unused, Used, UsedAllPlatforms};

const fn shape(name: &'static str, base: &'static str, layers: &'static [u32], how: How) -> Shape {
    Shape {
        name,
        base,
        layers,
        how,
    }
}

/// Bases that are not on the host themselves.
pub(crate) const BASES: [Shape; 3] = [
    shape("buildpack-deps:scm", "debian:12", &[24_000, 64_400], Unused),
    shape("buildpack-deps", "buildpack-deps:scm", &[211_000], Unused),
    shape("ubuntu:22.04", "", &[29_500], Unused),
];

pub(crate) const IMAGES: [Shape; 30] = [
    shape("alpine:3.20", "", &[3_600], AllPlatforms),
    shape("busybox:1.36", "", &[2_200], Unused),
    shape("debian:12", "", &[48_500], Unused),
    shape("debian:12-slim", "", &[28_200], Unused),
    shape("ubuntu:24.04", "", &[29_700], Unused),
    shape("python:3.12", "buildpack-deps", &[6_100, 24_300, 1], Unused),
    shape(
        "python:3.12-slim",
        "debian:12-slim",
        &[3_500, 13_600, 1],
        Unused,
    ),
    shape(
        "python:3.12-alpine",
        "alpine:3.20",
        &[460, 13_500, 1],
        Unused,
    ),
    shape("node:22", "buildpack-deps", &[3, 57_000, 1_250, 1], Unused),
    shape(
        "node:22-slim",
        "debian:12-slim",
        &[3, 50_000, 1_700, 1],
        Unused,
    ),
    shape(
        "node:22-alpine",
        "alpine:3.20",
        &[51_000, 1_250, 1],
        AllPlatforms,
    ),
    shape(
        "golang:1.23",
        "buildpack-deps:scm",
        &[92_000, 74_000, 1, 1],
        Unused,
    ),
    shape(
        "eclipse-temurin:21-jre",
        "ubuntu:24.04",
        &[17_000, 53_000, 1, 2],
        Unused,
    ),
    shape(
        "maven:3-eclipse-temurin-21",
        "ubuntu:24.04",
        &[21_000, 158_000, 1, 2, 25_000, 9_300, 1, 1, 1],
        Unused,
    ),
    shape(
        "tomcat:10-jre21",
        "eclipse-temurin:21-jre",
        &[1, 1, 1_700, 13_000, 1],
        Unused,
    ),
    shape(
        "postgres:16",
        "debian:12-slim",
        &[
            1_150, 4_500, 1_450, 8_100, 1_200, 1, 1, 110_000, 10, 1, 6, 1,
        ],
        Used,
    ),
    shape(
        "mysql:8.4",
        "",
        &[49_000, 1, 980, 6_900, 1, 1, 53_000, 1, 62_000, 5],
        Unused,
    ),
    shape(
        "mariadb:11",
        "ubuntu:24.04",
        &[2, 4_900, 1, 2, 88_000, 1, 6],
        Unused,
    ),
    shape(
        "redis:7",
        "debian:12-slim",
        &[1, 900, 1_600, 15_500, 1, 1, 1],
        UsedAllPlatforms,
    ),
    shape(
        "mongo:7",
        "ubuntu:22.04",
        &[2, 1_500, 1_200, 1, 237_000, 5],
        Unused,
    ),
    shape(
        "rabbitmq:3-management",
        "ubuntu:24.04",
        &[52_000, 4_600, 1, 1, 23_000, 1, 1, 1, 8_900],
        Unused,
    ),
    shape(
        "nginx:1.27",
        "debian:12-slim",
        &[43_900, 1, 1, 1, 1, 1],
        Used,
    ),
    shape(
        "php:8.3-apache",
        "debian:12-slim",
        &[1, 104_000, 1, 20_000, 1, 1, 12_400, 1, 11_500, 2, 1, 1],
        Unused,
    ),
    shape(
        "prom/prometheus:v2.54.1",
        "",
        &[760, 480, 58_000, 54_000, 1, 5, 3, 9, 1, 1],
        UsedAllPlatforms,
    ),
    shape(
        "example/api:1.4",
        "python:3.12-slim",
        &[1, 38_000, 410],
        Unused,
    ),
    shape(
        "example/api:1.5",
        "python:3.12-slim",
        &[1, 38_600, 420],
        Used,
    ),
    shape(
        "example/web:7",
        "node:22-alpine",
        &[1, 61_000, 5_200],
        Unused,
    ),
    shape("example/web:8", "node:22-alpine", &[1, 61_500, 5_300], Used),
    shape(
        "example/orders:20240901",
        "eclipse-temurin:21-jre",
        &[1, 44_000, 900],
        Unused,
    ),
    shape(
        "example/orders:20240915",
        "eclipse-temurin:21-jre",
        &[1, 44_000, 910],
        Used,
    ),
];

/// Layers of an interrupted pull, which no image has, in kB.
pub(crate) const GARBAGE: [u32; 3] = [28_900, 14_200, 36_000];

/// Layers that an expired lease holds, in kB.
pub(crate) const LEASED: [u32; 2] = [31_000, 900];

/// Returns the layers of an image from the lowest on: a name that is that of the layer in all images
/// that share it, and the compressed size in kB.
///
/// # Panics
///
/// If a base is not in the tables.
pub(crate) fn layers(name: &str) -> Vec<(String, u32)> {
    let mut all = IMAGES.iter().chain(&BASES);
    let shape = all
        .find(|shape| shape.name == name)
        .unwrap_or_else(|| panic!("no image {name}"));
    let mut found = if shape.base.is_empty() {
        Vec::new()
    } else {
        layers(shape.base)
    };
    let own = shape.layers.iter().enumerate();
    found.extend(own.map(|(number, size)| (format!("{name} {number}"), *size)));
    found
}
