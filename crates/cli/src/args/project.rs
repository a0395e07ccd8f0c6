//! Arguments of `reclaim project`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use reclaim_model::ProjectImageMode;

use super::Format;
use super::how::HowArgs;

#[derive(Debug, Subcommand)]
pub(crate) enum ProjectCommand {
    /// Remove the images of a project, as `docker compose down --rmi` does
    ///
    /// A project's images are found from its files, from the labels that Compose sets on what it
    /// builds, and from the default names of services that name no image. An image used by any
    /// container, also of another project, is kept with a warning.
    ///
    /// Without -f the files are found as Compose finds them. If there are none and the project is
    /// named, its services are taken from the labels of its containers.
    ///
    /// Exit status: 0 done, also if images are in use or missing; 1 failed, or an image could not
    /// be removed; 2 wrong usage; 3 the run did not finish; 4 another prune is running,
    /// or `reclaim inhibit` forbids it.
    Prune(Box<ProjectPruneArgs>),

    /// List projects by their labels, their images, and what --rmi local would free
    Ls(ProjectLsArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ProjectPruneArgs {
    #[command(flatten)]
    pub(crate) files: FilesArgs,

    /// Select images: local, built or all
    ///
    /// `local`: built for services that name no image. `built`: everything that was built for the
    /// project, under any name; current Compose versions use this for their `local`. `all`: also
    /// the images that services only name.
    #[arg(long, value_name = "MODE")]
    pub(crate) rmi: ProjectImageMode,

    /// Also remove images built for services that the project no longer has
    #[arg(long)]
    pub(crate) remove_orphans: bool,

    /// Use a Docker Engine instead of containerd: `unix:///PATH` or `tcp://HOST:PORT`
    ///
    /// Makes the same API calls as Compose. Nothing is held, so nothing can be undone.
    /// `containerd` is the default.
    #[arg(long, env = "DOCKER_HOST", value_name = "ADDRESS")]
    engine: Option<String>,

    /// Use TLS for --engine tcp://…, with ca.pem, cert.pem and key.pem in this directory
    ///
    /// Needed for an address that is not a loopback address. [default: `DOCKER_CERT_PATH`, if
    /// `DOCKER_TLS_VERIFY` is set]
    #[arg(long, value_name = "DIR")]
    pub(crate) docker_tls: Option<PathBuf>,

    /// Show what would be removed; change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,

    #[command(flatten)]
    pub(crate) how: HowArgs,

    /// Remove only images of these services, unless another service needs them
    #[arg(value_name = "SERVICE")]
    pub(crate) services: Vec<String>,
}

impl ProjectPruneArgs {
    /// Returns the address of the Docker Engine to use, if one is given.
    pub(crate) fn docker(&self) -> Option<&str> {
        let engine = self.engine.as_deref();
        engine.filter(|address| !address.is_empty() && *address != "containerd")
    }
}

/// Options that select a project, named as Compose names them.
#[derive(Debug, Args)]
pub(crate) struct FilesArgs {
    /// A project file; repeatable, later files override earlier ones
    #[arg(short, long = "file", value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,

    /// The project name [default: from environment, files or directory]
    #[arg(short, long, value_name = "NAME")]
    pub(crate) project_name: Option<String>,

    /// The project directory [default: directory of the first file]
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) project_directory: Option<PathBuf>,

    /// A file with variables to use instead of .env; repeatable
    #[arg(long = "env-file", value_name = "FILE")]
    pub(crate) env_files: Vec<PathBuf>,

    /// A profile to enable; `*` enables all; repeatable
    #[arg(long = "profile", value_name = "NAME")]
    pub(crate) profiles: Vec<String>,

    /// Use Compose 1's default names of images, `PROJECT_SERVICE`
    ///
    /// The same as `COMPOSE_COMPATIBILITY=true`, in the environment or in .env. Default names with a
    /// hyphen then mean nothing; images with the labels of the project go under any name.
    #[arg(long)]
    pub(crate) compatibility: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ProjectLsArgs {
    /// Use Compose 1's default names of images, `PROJECT_SERVICE`
    ///
    /// The same as `COMPOSE_COMPATIBILITY=true`, in the environment or in .env, and as
    /// --compatibility of `project prune`.
    #[arg(long)]
    pub(crate) compatibility: bool,

    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
}
