//! The words of `reclaim project`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use reclaim_model::ProjectImageMode;

use super::Format;
use super::how::HowArgs;

#[derive(Debug, Subcommand)]
pub(crate) enum ProjectCommand {
    /// Remove the images of a project, as `docker compose down --rmi` does
    ///
    /// Which images are a project's is told by its files, by the labels that Compose gives to
    /// what it builds, and by the default names of services that name no image. An image that a
    /// container uses stays, with a warning; so does one that another project uses.
    ///
    /// Without -f the files are found as Compose finds them. If there are none, and the project
    /// is named, it is what the labels of its containers say.
    ///
    /// Exit status: 0 done, also if images are in use or not there; 1 failed, or an image could
    /// not be removed; 2 wrong usage; 3 the run could not be brought to its end; 4 another
    /// prune is running.
    Prune(Box<ProjectPruneArgs>),

    /// List the projects that labels tell of, their images, and what --rmi local would free
    Ls(ProjectLsArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ProjectPruneArgs {
    #[command(flatten)]
    pub(crate) files: FilesArgs,

    /// Which images: local, built or all
    ///
    /// `local` are those without a name of their own, built for services that name no image.
    /// `built` are all that were built for the project, under whatever name; today's Compose
    /// takes these for its `local`. `all` are also those that services only name.
    #[arg(long, value_name = "MODE")]
    pub(crate) rmi: ProjectImageMode,

    /// Also images that were built for services which the project has no longer
    #[arg(long)]
    pub(crate) remove_orphans: bool,

    /// Ask a Docker Engine over its API, not containerd: `unix:///PATH` or `tcp://HOST:PORT`
    ///
    /// The calls are those that Compose makes; nothing is held, so nothing can be undone.
    /// `containerd` is as good as none.
    #[arg(long, env = "DOCKER_HOST", value_name = "ADDRESS")]
    engine: Option<String>,

    /// Show what would go, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// How to print the report
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,

    #[command(flatten)]
    pub(crate) how: HowArgs,

    /// Only images of these services; one that another service needs too stays
    #[arg(value_name = "SERVICE")]
    pub(crate) services: Vec<String>,
}

impl ProjectPruneArgs {
    /// Returns the address of the Docker Engine that is to be asked, if one is.
    pub(crate) fn docker(&self) -> Option<&str> {
        let engine = self.engine.as_deref();
        engine.filter(|it| !it.is_empty() && *it != "containerd")
    }
}

/// Which project, in Compose's words.
#[derive(Debug, Args)]
pub(crate) struct FilesArgs {
    /// A file of the project; may be given several times, each is merged over those before it
    #[arg(short, long = "file", value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,

    /// The project's name [default: by environment, files, or directory]
    #[arg(short, long, value_name = "NAME")]
    pub(crate) project_name: Option<String>,

    /// The project's directory [default: that of its first file]
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) project_directory: Option<PathBuf>,

    /// A file with variables, instead of .env; may be given several times
    #[arg(long = "env-file", value_name = "FILE")]
    pub(crate) env_files: Vec<PathBuf>,

    /// A profile to enable; `*` is all of them
    #[arg(long = "profile", value_name = "NAME")]
    pub(crate) profiles: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ProjectLsArgs {
    /// How to print the list
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
}
