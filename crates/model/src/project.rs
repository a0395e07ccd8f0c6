//! Compose projects: which images belong to a project, and which of them are to go.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Reference;

/// Label by which an image or a container belongs to a project.
pub const PROJECT_LABEL: &str = "com.docker.compose.project";
/// Label by which it belongs to a service of it.
pub const SERVICE_LABEL: &str = "com.docker.compose.service";

/// The name of a project: lower-case letters, digits, `-` and `_`, and a letter or digit first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProjectName(String);

/// The error of a text that is not a project name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid project name {0:?}: must consist only of lowercase alphanumeric characters, hyphens, \
     and underscores as well as start with a letter or number"
)]
pub struct ProjectNameError(pub String);

impl ProjectName {
    /// Makes a name from any text, such as the name of a directory: in lower case, without the
    /// characters that names cannot have. `None` if nothing is left.
    ///
    /// Source: compose-go, `NormalizeProjectName`.
    pub fn normalized(text: &str) -> Option<Self> {
        let lower = text.to_lowercase();
        let kept: String = lower.chars().filter(|it| is_name_character(*it)).collect();
        let name = kept.trim_start_matches(['_', '-']);
        (!name.is_empty()).then(|| Self(name.to_owned()))
    }

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_name_character(it: char) -> bool {
    it.is_ascii_lowercase() || it.is_ascii_digit() || matches!(it, '-' | '_')
}

impl FromStr for ProjectName {
    type Err = ProjectNameError;

    /// Parses a name as typed. Upper case becomes lower case, as in Compose's `down`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let lower = text.to_lowercase();
        let name = Self::normalized(&lower).filter(|it| it.0 == lower);
        name.ok_or_else(|| ProjectNameError(text.to_owned()))
    }
}

impl fmt::Display for ProjectName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A project with its services.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Project {
    /// Its name.
    pub name: ProjectName,
    /// Its services by name: those that its profiles enable.
    #[serde(default)]
    pub services: BTreeMap<String, Service>,
    /// What is between its name and that of a service in the default names of images. Left out if it is
    /// a hyphen, so that older daemons read the project.
    #[serde(default, skip_serializing_if = "Separator::is_hyphen")]
    pub separator: Separator,
}

/// What is between the name of a project and that of a service in the default name of an image.
///
/// Source: docker/compose, `pkg/api`, `Separator`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Separator {
    /// `-`, as in Compose 2 and newer.
    #[default]
    Hyphen,
    /// `_`, as in Compose 1, and with `COMPOSE_COMPATIBILITY`.
    Underscore,
}

impl Separator {
    /// Returns the separator of Compose, in its compatibility mode or not.
    pub fn of_compatibility(is_compatible: bool) -> Self {
        if is_compatible {
            Self::Underscore
        } else {
            Self::Hyphen
        }
    }

    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde hands over references"
    )]
    fn is_hyphen(&self) -> bool {
        *self == Self::Hyphen
    }
}

impl fmt::Display for Separator {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Hyphen => "-",
            Self::Underscore => "_",
        })
    }
}

/// A service of a project.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Service {
    /// The image that it names; a service without one is built, and its image has the default name.
    pub image: Option<String>,
}

impl Project {
    /// Returns the name of the image that Compose builds for a service that names none.
    pub fn default_image(&self, service: &str) -> String {
        format!("{}{}{service}", self.name, self.separator)
    }

    /// Creates a project from the labels of its containers: services and the images from which the
    /// containers were created.
    ///
    /// A service whose container has the image of the default name counts as naming none.
    pub fn of_containers<'a>(
        name: ProjectName,
        separator: Separator,
        containers: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        let mut project = Self {
            name,
            services: BTreeMap::new(),
            separator,
        };
        for (service, image) in containers {
            let is_default = full(image) == full(&project.default_image(service));
            let image = (!image.is_empty() && !is_default).then(|| image.to_owned());
            project
                .services
                .insert(service.to_owned(), Service { image });
        }
        project
    }
}

fn full(image: &str) -> Option<Reference> {
    let reference = Reference::parse_normalized(image).ok()?;
    Some(reference.with_default_tag())
}

/// Which images of a project are to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProjectImageMode {
    /// None.
    None,
    /// Those without a name of their own: built for services that name no image.
    Local,
    /// Those that were built for the project, under any name.
    Built,
    /// Those that services name, too.
    All,
}

impl fmt::Display for ProjectImageMode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::None => "none",
            Self::Local => "local",
            Self::Built => "built",
            Self::All => "all",
        })
    }
}

/// The error of an unknown mode. Its text begins like Compose's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unsupported image prune mode: {0}; accepted are local, built and all")]
pub struct UnknownModeError(pub String);

impl FromStr for ProjectImageMode {
    type Err = UnknownModeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "" | "none" => Self::None,
            "local" => Self::Local,
            "built" => Self::Built,
            "all" => Self::All,
            other => return Err(UnknownModeError(other.to_owned())),
        })
    }
}

/// A request for the images of a project to be removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProjectImages {
    /// The project.
    pub project: Project,
    /// Whether to add the services of the project's containers to it.
    #[serde(default)]
    pub from_containers: bool,
    /// Which of its images.
    pub mode: ProjectImageMode,
    /// Whether images that were built for former services go, too.
    #[serde(default)]
    pub remove_orphans: bool,
    /// Only images of these services; `None` is the whole project.
    #[serde(default)]
    pub services: Option<BTreeSet<String>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_compose_takes() {
        for (text, name) in [
            ("shop", Some("shop")),
            ("Upper", Some("upper")),
            ("a_b-1", Some("a_b-1")),
            ("1a", Some("1a")),
            ("-a", None),
            ("a.b", None),
            ("a b", None),
            ("", None),
        ] {
            let parsed = text.parse::<ProjectName>().ok();
            assert_eq!(parsed.as_ref().map(ProjectName::as_str), name, "{text}");
        }
        for (text, name) in [
            ("My App (old)", Some("myappold")),
            ("_-x.y", Some("xy")),
            ("Ünter", Some("nter")),
            ("...", None),
        ] {
            let made = ProjectName::normalized(text);
            assert_eq!(made.as_ref().map(ProjectName::as_str), name, "{text}");
        }
    }

    #[test]
    fn a_project_is_what_its_containers_were_created_from() {
        let name: ProjectName = "shop".parse().unwrap();
        let project = Project::of_containers(
            name.clone(),
            Separator::Hyphen,
            [
                ("web", "shop-web"),
                ("api", "docker.io/library/shop-api:latest"),
                ("old", "shop-old:1"),
                ("db", "postgres:17"),
                ("lost", ""),
            ],
        );
        assert_eq!(project.name.to_string(), "shop");
        assert_eq!(project.default_image("web"), "shop-web");
        let services = project.services.iter();
        let images = services.map(|(service, it)| (service.as_str(), it.image.as_deref()));
        assert_eq!(
            images.collect::<Vec<_>>(),
            [
                ("api", None),
                ("db", Some("postgres:17")),
                ("lost", None),
                ("old", Some("shop-old:1")),
                ("web", None),
            ]
        );
        let containers = [("web", "shop-web"), ("api", "shop_api")];
        let project = Project::of_containers(name, Separator::Underscore, containers);
        assert_eq!(project.default_image("web"), "shop_web");
        assert_eq!(project.services["web"].image.as_deref(), Some("shop-web"));
        assert_eq!(project.services["api"].image, None);
    }

    /// Older daemons refuse fields that they do not know.
    #[test]
    fn the_usual_separator_is_not_written() {
        let mut project = Project::of_containers("shop".parse().unwrap(), Separator::Hyphen, []);
        let written = |project: &Project| serde_json::to_value(project).unwrap();
        let plain = serde_json::json!({"name": "shop", "services": {}});
        assert_eq!(written(&project), plain);
        assert_eq!(serde_json::from_value::<Project>(plain).unwrap(), project);
        project.separator = Separator::of_compatibility(true);
        let form = written(&project);
        assert_eq!(form["separator"], "underscore");
        assert_eq!(serde_json::from_value::<Project>(form).unwrap(), project);
    }

    #[test]
    fn knows_modes_by_their_names() {
        assert_eq!("".parse(), Ok(ProjectImageMode::None));
        for (name, mode) in [
            ("none", ProjectImageMode::None),
            ("local", ProjectImageMode::Local),
            ("built", ProjectImageMode::Built),
            ("all", ProjectImageMode::All),
        ] {
            assert_eq!(name.parse(), Ok(mode));
            assert_eq!(mode.to_string(), name);
        }
        let error = "foo".parse::<ProjectImageMode>().unwrap_err();
        let words = "unsupported image prune mode: foo; accepted are local, built and all";
        assert_eq!(error.to_string(), words);
    }
}
