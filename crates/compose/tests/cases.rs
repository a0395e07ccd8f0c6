//! The projects below `tests/projects`, and the expected images.

use std::path::{Path, PathBuf};

use reclaim_compose::ProjectFiles;
use reclaim_model::Separator::{self, Hyphen, Underscore};

/// A project with options, and the expected name and images.
pub(crate) struct Case {
    pub(crate) directory: &'static str,
    pub(crate) files: &'static [&'static str],
    pub(crate) environment: &'static [(&'static str, &'static str)],
    pub(crate) profiles: &'static [&'static str],
    pub(crate) services: &'static [&'static str],
    /// Env files.
    pub(crate) env_files: &'static [&'static str],
    /// Whether to turn on the compatibility mode.
    pub(crate) compatibility: bool,
    /// What the default names have between project and service.
    pub(crate) separator: Separator,
    pub(crate) name: &'static str,
    /// Services and their images; an empty image is the default one.
    pub(crate) images: &'static [(&'static str, &'static str)],
}

pub(crate) const CASE: Case = Case {
    directory: "",
    files: &[],
    environment: &[],
    profiles: &[],
    services: &[],
    env_files: &[],
    compatibility: false,
    separator: Hyphen,
    name: "",
    images: &[],
};

#[rustfmt::skip]
pub(crate) const CASES: &[Case] = &[
    Case { directory: "single", name: "single",
        images: &[("api", ""), ("cache", "redis"), ("db", "postgres:17-alpine"), ("web", "")], ..CASE },
    Case { directory: "override", name: "override",
        images: &[("app", "team/app:dev"), ("worker", "registry.example.com:5000/team/app:1.4")], ..CASE },
    Case { directory: "override", name: "override", profiles: &["mail"],
        images: &[("app", "team/app:dev"), ("mail", "mailhog/mailhog:v1.0.1"),
            ("worker", "registry.example.com:5000/team/app:1.4")], ..CASE },
    // If files are named, the override file is not read.
    Case { directory: "override", name: "override", files: &["docker-compose.yml"],
        environment: &[("COMPOSE_PROFILES", "dev, other")],
        images: &[("app", "registry.example.com:5000/team/app:1.4"), ("mail", "mailhog/mailhog:v1.0.1"),
            ("worker", "registry.example.com:5000/team/app:1.4")], ..CASE },
    Case { directory: "layered", name: "layered", files: &["base.yaml"],
        images: &[("debug", "ghcr.io/acme/debug:latest"), ("gateway", "traefik:v3.1"),
            ("old", "ghcr.io/acme/old:1")], ..CASE },
    Case { directory: "layered", name: "layered", environment: &[("RELEASE", "7"),
            ("COMPOSE_FILE", "base.yaml:prod.yaml")], profiles: &["app"],
        images: &[("app", "ghcr.io/acme/app:7"), ("gateway", "traefik:v3.1"), ("old", "")], ..CASE },
    Case { directory: "layered", name: "layered", files: &["base.yaml", "prod.yaml"],
        environment: &[("RELEASE", "7")], profiles: &["all"],
        images: &[("gateway", "traefik:v3.1"), ("old", "")], ..CASE },
    Case { directory: "profiles", name: "profiles", images: &[("backend", "acme/backend")], ..CASE },
    Case { directory: "profiles", name: "profiles", profiles: &["tools"],
        images: &[("backend", "acme/backend"), ("migrate", ""), ("phpmyadmin", "phpmyadmin")], ..CASE },
    Case { directory: "profiles", name: "profiles", profiles: &["*"],
        images: &[("backend", "acme/backend"), ("frontend", "acme/frontend"), ("migrate", ""),
            ("phpmyadmin", "phpmyadmin")], ..CASE },
    Case { directory: "profiles", name: "profiles", services: &["migrate"],
        images: &[("backend", "acme/backend"), ("migrate", "")], ..CASE },
    Case { directory: "variables", name: "shop-test",
        images: &[("app", "registry.example.com/shop/app:v1.2.3"), ("cache", "redis:7"),
            ("db", "postgres:16-alpine"), ("odd", "acme/cost:a$b"), ("proxy", ""),
            ("queue", "rabbitmq:4"), ("search", "elastic/search:2")], ..CASE },
    Case { directory: "variables", name: "other", environment: &[("COMPOSE_PROJECT_NAME", "other"),
            ("TAG", "v2"), ("CACHE", "valkey/valkey"), ("PROXY", "nginx:1"), ("EMPTY", "x")],
        images: &[("app", "registry.example.com/shop/app:v2"), ("cache", "valkey/valkey"),
            ("db", "postgres:16-alpine"), ("odd", "acme/cost:a$b"), ("proxy", "nginx:1"),
            ("queue", "rabbitmqx:4"), ("search", "elastic/search-plus:2")], ..CASE },
    Case { directory: "extends", name: "extends",
        images: &[("api", "acme/api:2"), ("base", "acme/base:1"), ("copy", "acme/base:1"),
            ("web", "acme/base:1"), ("worker", "acme/job:3")], ..CASE },
    Case { directory: "extends", name: "extends", profiles: &["cron"], environment: &[("JOB_VERSION", "4")],
        images: &[("api", "acme/api:2"), ("base", "acme/base:1"), ("copy", "acme/base:1"), ("cron", ""),
            ("web", "acme/base:1"), ("worker", "acme/job:4")], ..CASE },
    Case { directory: "include", name: "include",
        images: &[("app", ""), ("board", "acme/board:blue"), ("chat", "acme/chat:2"), ("db", "postgres:15"),
            ("logs", "grafana/loki:3"), ("metrics", "prom/prometheus:v3")], ..CASE },
    Case { directory: "include", name: "include", environment: &[("PG", "14"), ("TEAM_TAG", "red")],
        images: &[("app", ""), ("board", "acme/board:red"), ("chat", "acme/chat:2"), ("db", "postgres:14"),
            ("logs", "grafana/loki:3"), ("metrics", "prom/prometheus:v3")], ..CASE },
    Case { directory: "monorepo", name: "monorepo", images: &[("accounts", ""), ("frontend_v2", "")], ..CASE },
    Case { directory: "monorepo", name: "monorepo", profiles: &["billing"],
        images: &[("accounts", ""), ("billing", ""), ("frontend_v2", "")], ..CASE },
    Case { directory: "hybrid", name: "hybrid",
        images: &[("docs",
            "sphinxdoc/sphinx@sha256:3f58a91c62236f3b35e0d77a6f5d1a1b1f8a1f4d3d2c7a1f0e9d8c7b6a594837"),
            ("site", "acme/site:edge"), ("tests", "acme/site:edge")], ..CASE },
    Case { directory: "modern", name: "modern",
        images: &[("app", ""), ("assistant", "acme/assistant:0.1"), ("database", "")], ..CASE },
    Case { directory: "legacy", name: "legacy",
        images: &[("data", "busybox"), ("mysql", "mysql:8"), ("wordpress", "wordpress:php8.3")], ..CASE },
    Case { directory: "documents", name: "documents",
        images: &[("one", "acme/one:1"), ("three", ""), ("two", "acme/two:2")], ..CASE },
    Case { directory: "extends/common", files: &["../../hybrid/./compose.yaml"], name: "hybrid",
        environment: &[("TAG", "1")],
        images: &[("docs",
            "sphinxdoc/sphinx@sha256:3f58a91c62236f3b35e0d77a6f5d1a1b1f8a1f4d3d2c7a1f0e9d8c7b6a594837"),
            ("site", "acme/site:1"), ("tests", "acme/site:1")], ..CASE },
    Case { directory: "extends/common", files: &["../compose.yaml"], name: "extends", profiles: &["nothing"],
        images: &[("api", "acme/api:2"), ("base", "acme/base:1"), ("copy", "acme/base:1"),
            ("web", "acme/base:1"), ("worker", "acme/job:3")], ..CASE },
    // The files are found in the directory above.
    Case { directory: "include/team", files: &[], name: "include",
        images: &[("app", ""), ("board", "acme/board:blue"), ("chat", "acme/chat:2"), ("db", "postgres:15"),
            ("logs", "grafana/loki:3"), ("metrics", "prom/prometheus:v3")], ..CASE },
    // The environment wins over env files, and the option over both.
    Case { directory: "single", name: "single", separator: Underscore, compatibility: true,
        images: SINGLE, ..CASE },
    Case { directory: "single", name: "single", separator: Underscore,
        environment: &[("COMPOSE_COMPATIBILITY", " True ")], images: SINGLE, ..CASE },
    Case { directory: "single", name: "single", separator: Underscore, compatibility: true,
        environment: &[("COMPOSE_COMPATIBILITY", "0")], images: SINGLE, ..CASE },
    Case { directory: "single", name: "single",
        environment: &[("COMPOSE_COMPATIBILITY", "yes")], images: SINGLE, ..CASE },
    Case { directory: "compatible", name: "compatible", separator: Underscore, images: COMPATIBLE, ..CASE },
    Case { directory: "compatible", name: "compatible",
        environment: &[("COMPOSE_COMPATIBILITY", "false")], images: COMPATIBLE, ..CASE },
    Case { directory: "compatible", name: "compatible",
        environment: &[("COMPOSE_COMPATIBILITY", "")], images: COMPATIBLE, ..CASE },
    Case { directory: "compatible", name: "compatible", env_files: &["other.env"], images: COMPATIBLE, ..CASE },
];

const SINGLE: &[(&str, &str)] = &[
    ("api", ""),
    ("cache", "redis"),
    ("db", "postgres:17-alpine"),
    ("web", ""),
];

const COMPATIBLE: &[(&str, &str)] = &[("named", "acme/named:1"), ("web", "")];

pub(crate) fn projects() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/projects")
}

pub(crate) fn files(case: &Case) -> ProjectFiles {
    let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
    let environment = case
        .environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    ProjectFiles {
        files: case.files.iter().map(PathBuf::from).collect(),
        profiles: owned(case.profiles),
        services: owned(case.services),
        env_files: case.env_files.iter().map(PathBuf::from).collect(),
        compatibility: case.compatibility,
        environment: environment.collect(),
        working_directory: projects().join(case.directory),
        ..ProjectFiles::default()
    }
}
