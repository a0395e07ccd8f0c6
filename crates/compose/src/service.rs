//! Services in files, and how those of one file are merged over those of another.
//!
//! Only keys that determine images are read; others are ignored.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::error::{ComposeError, Location};
use crate::interpolate::{Variables, interpolate};
use crate::yaml::{NodeId, Tag, Tree, Value};

/// Services of one or several files, by name.
pub(crate) type Services = BTreeMap<String, Entry>;

/// A service in a file, and how it is merged.
#[derive(Debug, Clone)]
pub(crate) enum Entry {
    /// Is merged over the earlier one.
    Merged(RawService),
    /// Replaces the earlier one.
    Replaced(RawService),
    /// Removes the earlier one.
    Reset,
}

/// The keys of a service that determine its image.
#[derive(Debug, Clone, Default)]
pub(crate) struct RawService {
    pub(crate) image: Field<String>,
    pub(crate) build: Field<()>,
    pub(crate) provider: Field<()>,
    pub(crate) profiles: Field<Vec<String>>,
    pub(crate) extends: Field<Extends>,
    /// The location of the service.
    pub(crate) location: Option<Location>,
}

/// A value, and how it is merged.
#[derive(Debug, Clone, Default)]
pub(crate) enum Field<T> {
    /// Keeps the earlier value.
    #[default]
    Unset,
    /// Is merged over the earlier value.
    Set(T),
    /// Replaces the earlier value.
    Replaced(T),
    /// Removes the earlier value.
    Reset,
}

/// The service that another one extends.
#[derive(Debug, Clone)]
pub(crate) struct Extends {
    pub(crate) service: String,
    pub(crate) file: Option<String>,
    pub(crate) location: Location,
}

impl<T> Field<T> {
    pub(crate) fn get(&self) -> Option<&T> {
        match self {
            Self::Set(value) | Self::Replaced(value) => Some(value),
            Self::Unset | Self::Reset => None,
        }
    }

    /// Merges `over` over this; two values by `both`.
    fn merge(&mut self, over: Self, both: impl FnOnce(T, T) -> T) {
        let base = std::mem::take(self);
        *self = match (base, over) {
            (base, Self::Unset) => base,
            (_, Self::Reset) => Self::Unset,
            (Self::Set(base) | Self::Replaced(base), Self::Set(over)) => {
                Self::Set(both(base, over))
            }
            (_, Self::Set(over) | Self::Replaced(over)) => Self::Set(over),
        };
    }
}

impl RawService {
    /// Merges another service over this one.
    pub(crate) fn merge(&mut self, over: Self) {
        self.image.merge(over.image, |_, over| over);
        self.build.merge(over.build, |(), ()| ());
        self.provider.merge(over.provider, |(), ()| ());
        self.profiles.merge(over.profiles, |mut base, over| {
            base.extend(over);
            base
        });
        self.extends.merge(over.extends, |_, over| over);
        self.location = over.location.or(self.location.take());
    }
}

impl Entry {
    /// Returns the service without an earlier one.
    pub(crate) fn into_service(self) -> Option<RawService> {
        match self {
            Self::Merged(service) | Self::Replaced(service) => Some(service),
            Self::Reset => None,
        }
    }
}

/// Merges services over others.
pub(crate) fn merge(base: &mut Services, over: Services) {
    for (name, entry) in over {
        match (base.get_mut(&name), entry) {
            (Some(Entry::Merged(base) | Entry::Replaced(base)), Entry::Merged(over)) => {
                base.merge(over);
            }
            (_, Entry::Reset) => {
                base.remove(&name);
            }
            (_, entry) => {
                base.insert(name, entry);
            }
        }
    }
}

/// Reads values of one file, with variables replaced.
#[derive(Debug)]
pub(crate) struct Reader<'r> {
    pub(crate) tree: &'r Tree,
    pub(crate) path: &'r Path,
    pub(crate) variables: &'r Variables,
    /// The variables that are used and not set.
    pub(crate) unset: &'r RefCell<BTreeSet<String>>,
}

impl Reader<'_> {
    /// Returns the location of a top-level value.
    pub(crate) fn location(&self, key: &str, id: NodeId) -> Location {
        Location::file(self.path).below(key, self.tree.node(id).line)
    }

    /// Reads the services of a document.
    pub(crate) fn services(&self, document: NodeId) -> Result<Services, ComposeError> {
        let mut services = Services::new();
        let Some(id) = self.tree.get(document, "services") else {
            return Ok(services);
        };
        let location = self.location("services", id);
        for (name, id) in self.map(id, &location)? {
            let location = location.below(&name, self.tree.node(id).line);
            let entry = match self.tree.node(id).tag {
                Tag::Reset => Entry::Reset,
                Tag::Override => Entry::Replaced(self.service(id, location)?),
                Tag::None => Entry::Merged(self.service(id, location)?),
            };
            services.insert(name, entry);
        }
        Ok(services)
    }

    fn service(&self, id: NodeId, location: Location) -> Result<RawService, ComposeError> {
        let mut service = RawService::default();
        for (key, id) in self.map(id, &location)? {
            let location = location.below(&key, self.tree.node(id).line);
            match key.as_str() {
                "image" => service.image = self.field(id, || self.text(id, &location))?,
                "build" => service.build = self.field(id, || Ok(self.presence(id)))?,
                "provider" => service.provider = self.field(id, || Ok(self.presence(id)))?,
                "profiles" => service.profiles = self.field(id, || self.list(id, &location))?,
                "extends" => service.extends = self.field(id, || self.extends(id, &location))?,
                _ => {}
            }
        }
        service.location = Some(location);
        Ok(service)
    }

    fn field<T>(
        &self,
        id: NodeId,
        read: impl FnOnce() -> Result<Option<T>, ComposeError>,
    ) -> Result<Field<T>, ComposeError> {
        Ok(match self.tree.node(id).tag {
            Tag::Reset => Field::Reset,
            Tag::Override => read()?.map_or(Field::Reset, Field::Replaced),
            Tag::None => read()?.map_or(Field::Unset, Field::Set),
        })
    }

    fn presence(&self, id: NodeId) -> Option<()> {
        match self.tree.node(id).value {
            Value::Null => None,
            Value::Text(_) | Value::Other(_) | Value::List(_) | Value::Map(_) => Some(()),
        }
    }

    fn extends(&self, id: NodeId, location: &Location) -> Result<Option<Extends>, ComposeError> {
        let Value::Map(entries) = &self.tree.node(id).value else {
            let service = self.text(id, location)?;
            return Ok(service.map(|service| Extends {
                service,
                file: None,
                location: location.clone(),
            }));
        };
        let text = |key: &str| match entries.get(key) {
            Some(id) => self.text(*id, &location.below(key, self.tree.node(*id).line)),
            None => Ok(None),
        };
        let Some(service) = text("service")? else {
            return Err(location.invalid("must name a service, as in `service: base`"));
        };
        Ok(Some(Extends {
            service,
            file: text("file")?,
            location: location.clone(),
        }))
    }

    /// Reads a map; null is an empty one.
    pub(crate) fn map(
        &self,
        id: NodeId,
        location: &Location,
    ) -> Result<BTreeMap<String, NodeId>, ComposeError> {
        match &self.tree.node(id).value {
            Value::Map(entries) => Ok(entries.clone()),
            Value::Null => Ok(BTreeMap::new()),
            Value::Text(_) | Value::Other(_) | Value::List(_) => {
                Err(location.invalid("must be a map"))
            }
        }
    }

    /// Reads a string, with variables replaced.
    pub(crate) fn text(
        &self,
        id: NodeId,
        location: &Location,
    ) -> Result<Option<String>, ComposeError> {
        match &self.tree.node(id).value {
            Value::Null => Ok(None),
            Value::Text(text) => {
                let lookup = |name: &str| self.variables.get(name);
                interpolate(text, &lookup, &mut self.unset.borrow_mut())
                    .map(Some)
                    .map_err(|what| location.invalid(what))
            }
            Value::Other(_) => Err(location.invalid("must be a string; put the value in quotes")),
            Value::List(_) | Value::Map(_) => Err(location.invalid("must be a string")),
        }
    }

    /// Reads a list of strings.
    pub(crate) fn list(
        &self,
        id: NodeId,
        location: &Location,
    ) -> Result<Option<Vec<String>>, ComposeError> {
        match &self.tree.node(id).value {
            Value::Null => Ok(None),
            Value::List(items) => {
                let texts = items
                    .iter()
                    .map(|item| self.text(*item, location))
                    .collect::<Result<Vec<_>, _>>()?;
                Ok(Some(texts.into_iter().flatten().collect()))
            }
            Value::Text(_) | Value::Other(_) | Value::Map(_) => {
                Err(location.invalid("must be a list of strings"))
            }
        }
    }

    /// Reads a string or a list of strings.
    pub(crate) fn text_or_list(
        &self,
        id: NodeId,
        location: &Location,
    ) -> Result<Vec<String>, ComposeError> {
        match &self.tree.node(id).value {
            Value::List(_) => Ok(self.list(id, location)?.unwrap_or_default()),
            Value::Null | Value::Text(_) | Value::Other(_) | Value::Map(_) => {
                Ok(self.text(id, location)?.into_iter().collect())
            }
        }
    }
}
