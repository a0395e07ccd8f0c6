//! Loads services from files: their documents in order, with includes and extended services.
//!
//! Source: compose-go, `loader/{loader,include,extends}.go`.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::dotenv;
use crate::error::{ComposeError, Location};
use crate::interpolate::Variables;
use crate::service::{Entry, Extends, RawService, Reader, Services, merge};
use crate::source::{self, STDIN};
use crate::yaml::{NodeId, Tree, Value};

/// How many files a project may have. A file that is included several times counts each time.
const MAX_LOADS: usize = 1000;

/// How long a chain of services that extend each other, or of files that include each other, may be.
const MAX_CHAIN: usize = 100;

/// Reads the files of one project.
#[derive(Debug, Default)]
pub(crate) struct Loader {
    trees: BTreeMap<PathBuf, Rc<Tree>>,
    env_files: BTreeSet<PathBuf>,
    loads: usize,
    /// The variables that are used and not set.
    pub(crate) unset: RefCell<BTreeSet<String>>,
}

/// The base directory of paths in files, and the variables in their values.
#[derive(Debug)]
pub(crate) struct Scope {
    /// The project's directory, or that of the include.
    pub(crate) directory: PathBuf,
    pub(crate) variables: Rc<Variables>,
    /// The files whose includes led here.
    pub(crate) chain: Vec<PathBuf>,
}

impl Loader {
    /// Creates a loader of a project whose variables are from `env_files`.
    pub(crate) fn with_env_files(env_files: Vec<PathBuf>) -> Self {
        Self {
            env_files: env_files.into_iter().collect(),
            ..Self::default()
        }
    }

    /// Returns the files that were read, env files too, sorted.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let files: BTreeSet<&PathBuf> = self.trees.keys().chain(&self.env_files).collect();
        files.into_iter().cloned().collect()
    }

    pub(crate) fn tree(&mut self, path: &Path) -> Result<Rc<Tree>, ComposeError> {
        self.loads += 1;
        if self.loads > MAX_LOADS {
            let what = format!("includes or extends more than {MAX_LOADS} files");
            return Err(Location::file(path).invalid(what));
        }
        if let Some(tree) = self.trees.get(path) {
            return Ok(tree.clone());
        }
        let tree = Rc::new(Tree::parse(&source::read(path)?, &Location::file(path))?);
        self.trees.insert(path.to_owned(), tree.clone());
        Ok(tree)
    }

    /// Reads files, and merges each over the ones before it.
    pub(crate) fn load(
        &mut self,
        paths: &[PathBuf],
        scope: &Scope,
    ) -> Result<Services, ComposeError> {
        let mut services = Services::new();
        for path in paths {
            let tree = self.tree(path)?;
            for document in &tree.documents {
                let own = self.document(&tree, *document, path, scope)?;
                merge(&mut services, own);
            }
        }
        Ok(services)
    }

    fn document(
        &mut self,
        tree: &Tree,
        document: NodeId,
        path: &Path,
        scope: &Scope,
    ) -> Result<Services, ComposeError> {
        let unset = RefCell::new(self.unset.take());
        let reader = Reader {
            tree,
            path,
            variables: &scope.variables,
            unset: &unset,
        };
        let location = Location::file(path).at(tree.node(document).line);
        reader.map(document, &location)?;
        let mut services = reader.services(document)?;
        let includes = includes(&reader, document)?;
        self.unset = unset;
        for include in includes {
            let mut imported = self.include(&include, path, scope)?;
            merge(&mut imported, services);
            services = imported;
        }
        let names: Vec<String> = services.keys().cloned().collect();
        for name in names {
            let at = At {
                services: &services,
                path,
                directory: &scope.directory,
            };
            let mut chain = Vec::new();
            let extended = self.extend(&name, &at, scope, &mut chain)?;
            if let Some(Entry::Merged(service) | Entry::Replaced(service)) = services.get_mut(&name)
            {
                *service = extended;
            }
        }
        Ok(services)
    }

    /// Reads the files of an include.
    fn include(
        &mut self,
        include: &Include,
        path: &Path,
        scope: &Scope,
    ) -> Result<Services, ComposeError> {
        let Include {
            paths,
            directory,
            env_files,
            location,
        } = include;
        let resolved = paths
            .iter()
            .map(|path| local(&scope.directory, path, location))
            .collect::<Result<Vec<PathBuf>, _>>()?;
        let Some(main) = resolved.first() else {
            return Err(location.invalid("must name a file"));
        };
        let mut chain = scope.chain.clone();
        chain.push(real(path));
        if chain.contains(&real(main)) {
            let what = format!("`{}` includes itself: {}", main.display(), listed(&chain));
            return Err(location.invalid(what));
        }
        if chain.len() > MAX_CHAIN {
            let what = format!("files include each other deeper than {MAX_CHAIN} levels");
            return Err(location.invalid(what));
        }
        let directory = match directory {
            Some(directory) => scope.directory.join(directory),
            None => main.parent().unwrap_or(&scope.directory).to_owned(),
        };
        let env_files: Vec<PathBuf> = if env_files.is_empty() {
            let default = directory.join(".env");
            default.is_file().then_some(default).into_iter().collect()
        } else {
            env_files
                .iter()
                .filter(|path| *path != "/dev/null")
                .map(|path| scope.directory.join(path))
                .collect()
        };
        let mut variables = (*scope.variables).clone();
        variables.add(dotenv::read(&env_files, &scope.variables)?);
        self.env_files.extend(env_files);
        let scope = Scope {
            directory,
            variables: Rc::new(variables),
            chain,
        };
        self.load(&resolved, &scope)
    }

    /// Returns a service merged over the one that it extends.
    fn extend(
        &mut self,
        name: &str,
        at: &At<'_>,
        scope: &Scope,
        chain: &mut Vec<(PathBuf, String)>,
    ) -> Result<RawService, ComposeError> {
        let mut service = at
            .services
            .get(name)
            .cloned()
            .and_then(Entry::into_service)
            .unwrap_or_default();
        let Some(Extends {
            service: base,
            file,
            location,
        }) = service.extends.get().cloned()
        else {
            return Ok(service);
        };
        let link = (real(at.path), name.to_owned());
        if chain.contains(&link) || chain.len() > MAX_CHAIN {
            chain.push(link);
            let links: Vec<String> = chain
                .iter()
                .take(MAX_CHAIN)
                .map(|(path, name)| format!("{name} in {}", path.display()))
                .collect();
            let what = format!(
                "services extend each other in a circle: {}",
                links.join(", ")
            );
            return Err(location.invalid(what));
        }
        chain.push(link);
        let missing = |path: &Path| {
            let path = path.display();
            location.invalid(format!("service `{base}` does not exist in `{path}`"))
        };
        let mut merged = match file {
            None if !at.services.contains_key(&base) => return Err(missing(at.path)),
            None => self.extend(&base, at, scope, chain)?,
            Some(file) => {
                let path = local(at.directory, &file, &location)?;
                let services = self.plain(&path, scope)?;
                if !services.contains_key(&base) {
                    return Err(missing(&path));
                }
                let at = At {
                    services: &services,
                    path: &path,
                    directory: path.parent().unwrap_or(at.directory),
                };
                self.extend(&base, &at, scope, chain)?
            }
        };
        service.extends = crate::service::Field::Reset;
        merged.merge(service);
        Ok(merged)
    }

    /// Reads the services of a file without includes and extended services, for others to extend.
    fn plain(&mut self, path: &Path, scope: &Scope) -> Result<Services, ComposeError> {
        let tree = self.tree(path)?;
        let reader = Reader {
            tree: &tree,
            path,
            variables: &scope.variables,
            unset: &self.unset,
        };
        let mut services = Services::new();
        for document in &tree.documents {
            merge(&mut services, reader.services(*document)?);
        }
        Ok(services)
    }
}

/// The services, the file and the directory of a service that extends another.
struct At<'a> {
    services: &'a Services,
    path: &'a Path,
    directory: &'a Path,
}

/// Files to be included.
struct Include {
    paths: Vec<String>,
    directory: Option<String>,
    env_files: Vec<String>,
    location: Location,
}

/// Reads the includes of a document, which are names of files or maps.
fn includes(reader: &Reader<'_>, document: NodeId) -> Result<Vec<Include>, ComposeError> {
    let tree = reader.tree;
    let Some(id) = tree.get(document, "include") else {
        return Ok(Vec::new());
    };
    let location = reader.location("include", id);
    let items = match &tree.node(id).value {
        Value::Null => return Ok(Vec::new()),
        Value::List(items) => items,
        Value::Text(_) | Value::Other(_) | Value::Map(_) => {
            return Err(location.invalid("must be a list"));
        }
    };
    let includes = items.iter().enumerate().map(|(index, item)| {
        let location = location.below(&index.to_string(), tree.node(*item).line);
        if !matches!(tree.node(*item).value, Value::Map(_)) {
            return Ok(Include {
                paths: reader.text(*item, &location)?.into_iter().collect(),
                directory: None,
                env_files: Vec::new(),
                location,
            });
        }
        let below = |key: &str| {
            let id = tree.get(*item, key)?;
            Some((id, location.below(key, tree.node(id).line)))
        };
        let texts = |key: &str| match below(key) {
            Some((id, location)) => reader.text_or_list(id, &location),
            None => Ok(Vec::new()),
        };
        Ok(Include {
            paths: texts("path")?,
            directory: match below("project_directory") {
                Some((id, location)) => reader.text(id, &location)?,
                None => None,
            },
            env_files: texts("env_file")?,
            location,
        })
    });
    includes.collect()
}

/// Returns the path of a local file. Remote files are an error.
fn local(directory: &Path, path: &str, location: &Location) -> Result<PathBuf, ComposeError> {
    let is_remote = path.contains("://")
        || path.starts_with("git@")
        || path.starts_with("github.com/")
        || path.contains(".git#");
    if is_remote || path == STDIN {
        let what = format!("`{path}` is not a local file; remote files are not fetched");
        return Err(location.invalid(what));
    }
    Ok(directory.join(path))
}

/// Returns the canonical path, so that each file has one.
fn real(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

fn listed(paths: &[PathBuf]) -> String {
    let paths: Vec<String> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    paths.join(", ")
}
