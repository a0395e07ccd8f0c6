//! Services as files write them, and how one file's are merged into another's.
//!
//! Only what decides about images is read; everything else may be there and say anything.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::error::{ComposeError, Place};
use crate::interpolate::{Variables, interpolate};
use crate::yaml::{NodeId, Tag, Tree, Value};

/// Services of one or several files, by name.
pub(crate) type Services = BTreeMap<String, Entry>;

/// What files say of one service.
#[derive(Debug, Clone)]
pub(crate) enum Entry {
    /// To be merged into what is there.
    Merged(RawService),
    /// To stand in the place of what is there.
    Instead(RawService),
    /// To be taken away.
    Reset,
}

/// What a service says that decides about its image.
#[derive(Debug, Clone, Default)]
pub(crate) struct RawService {
    pub(crate) image: Field<String>,
    pub(crate) build: Field<()>,
    pub(crate) provider: Field<()>,
    pub(crate) profiles: Field<Vec<String>>,
    pub(crate) extends: Field<Extends>,
    /// Where the service stands.
    pub(crate) place: Option<Place>,
}

/// A value that may be merged.
#[derive(Debug, Clone, Default)]
pub(crate) enum Field<T> {
    #[default]
    Unset,
    Set(T),
    Instead(T),
    Reset,
}

/// The service that another one is built upon.
#[derive(Debug, Clone)]
pub(crate) struct Extends {
    pub(crate) service: String,
    pub(crate) file: Option<String>,
    pub(crate) place: Place,
}

impl<T> Field<T> {
    pub(crate) fn get(&self) -> Option<&T> {
        match self {
            Self::Set(value) | Self::Instead(value) => Some(value),
            Self::Unset | Self::Reset => None,
        }
    }

    /// Merges `over` into this; two plain values by `both`.
    fn merge(&mut self, over: Self, both: impl FnOnce(T, T) -> T) {
        let base = std::mem::take(self);
        *self = match (base, over) {
            (base, Self::Unset) => base,
            (_, Self::Reset) => Self::Unset,
            (Self::Set(base) | Self::Instead(base), Self::Set(over)) => Self::Set(both(base, over)),
            (_, Self::Set(over) | Self::Instead(over)) => Self::Set(over),
        };
    }
}

impl RawService {
    /// Merges another one, which wins, into this one.
    pub(crate) fn merge(&mut self, over: Self) {
        self.image.merge(over.image, |_, over| over);
        self.build.merge(over.build, |(), ()| ());
        self.provider.merge(over.provider, |(), ()| ());
        self.profiles.merge(over.profiles, |mut base, over| {
            base.extend(over);
            base
        });
        self.extends.merge(over.extends, |_, over| over);
        self.place = over.place.or(self.place.take());
    }
}

impl Entry {
    /// What the service is when there is nothing below it.
    pub(crate) fn into_service(self) -> Option<RawService> {
        match self {
            Self::Merged(service) | Self::Instead(service) => Some(service),
            Self::Reset => None,
        }
    }
}

/// Merges services into others, over which they win.
pub(crate) fn merge(base: &mut Services, over: Services) {
    for (name, entry) in over {
        match (base.get_mut(&name), entry) {
            (Some(Entry::Merged(base) | Entry::Instead(base)), Entry::Merged(over)) => {
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

/// Reads values of one file, with the variables put in.
#[derive(Debug)]
pub(crate) struct Reader<'r> {
    pub(crate) tree: &'r Tree,
    pub(crate) path: &'r Path,
    pub(crate) variables: &'r Variables,
    /// Variables that are used and not set.
    pub(crate) unset: &'r RefCell<BTreeSet<String>>,
}

impl Reader<'_> {
    /// The place of a value at the top of a document.
    pub(crate) fn place(&self, key: &str, id: NodeId) -> Place {
        Place::file(self.path).below(key, self.tree.node(id).line)
    }

    /// Reads the services of a document.
    pub(crate) fn services(&self, document: NodeId) -> Result<Services, ComposeError> {
        let mut services = Services::new();
        let Some(id) = self.tree.get(document, "services") else {
            return Ok(services);
        };
        let place = self.place("services", id);
        for (name, id) in self.map(id, &place)? {
            let place = place.below(&name, self.tree.node(id).line);
            let entry = match self.tree.node(id).tag {
                Tag::Reset => Entry::Reset,
                Tag::Override => Entry::Instead(self.service(id, place)?),
                Tag::None => Entry::Merged(self.service(id, place)?),
            };
            services.insert(name, entry);
        }
        Ok(services)
    }

    fn service(&self, id: NodeId, place: Place) -> Result<RawService, ComposeError> {
        let mut service = RawService::default();
        for (key, id) in self.map(id, &place)? {
            let place = place.below(&key, self.tree.node(id).line);
            match key.as_str() {
                "image" => service.image = self.field(id, || self.text(id, &place))?,
                "build" => service.build = self.field(id, || Ok(self.presence(id)))?,
                "provider" => service.provider = self.field(id, || Ok(self.presence(id)))?,
                "profiles" => service.profiles = self.field(id, || self.list(id, &place))?,
                "extends" => service.extends = self.field(id, || self.extends(id, &place))?,
                _ => {}
            }
        }
        service.place = Some(place);
        Ok(service)
    }

    fn field<T>(
        &self,
        id: NodeId,
        read: impl FnOnce() -> Result<Option<T>, ComposeError>,
    ) -> Result<Field<T>, ComposeError> {
        Ok(match self.tree.node(id).tag {
            Tag::Reset => Field::Reset,
            Tag::Override => read()?.map_or(Field::Reset, Field::Instead),
            Tag::None => read()?.map_or(Field::Unset, Field::Set),
        })
    }

    fn presence(&self, id: NodeId) -> Option<()> {
        match self.tree.node(id).value {
            Value::Null => None,
            Value::Text(_) | Value::Other(_) | Value::List(_) | Value::Map(_) => Some(()),
        }
    }

    fn extends(&self, id: NodeId, place: &Place) -> Result<Option<Extends>, ComposeError> {
        let Value::Map(entries) = &self.tree.node(id).value else {
            let service = self.text(id, place)?;
            return Ok(service.map(|service| Extends {
                service,
                file: None,
                place: place.clone(),
            }));
        };
        let text = |key: &str| match entries.get(key) {
            Some(id) => self.text(*id, &place.below(key, self.tree.node(*id).line)),
            None => Ok(None),
        };
        let Some(service) = text("service")? else {
            return Err(place.invalid("must name a service, as in `service: base`"));
        };
        Ok(Some(Extends {
            service,
            file: text("file")?,
            place: place.clone(),
        }))
    }

    /// Reads a map; nothing is an empty one.
    pub(crate) fn map(
        &self,
        id: NodeId,
        place: &Place,
    ) -> Result<BTreeMap<String, NodeId>, ComposeError> {
        match &self.tree.node(id).value {
            Value::Map(entries) => Ok(entries.clone()),
            Value::Null => Ok(BTreeMap::new()),
            Value::Text(_) | Value::Other(_) | Value::List(_) => {
                Err(place.invalid("must be a map"))
            }
        }
    }

    /// Reads a text, with its variables put in.
    pub(crate) fn text(&self, id: NodeId, place: &Place) -> Result<Option<String>, ComposeError> {
        match &self.tree.node(id).value {
            Value::Null => Ok(None),
            Value::Text(text) => {
                let lookup = |name: &str| self.variables.get(name);
                let done = interpolate(text, &lookup, &mut self.unset.borrow_mut());
                done.map(Some).map_err(|what| place.invalid(what))
            }
            Value::Other(text) => {
                let what = format!("must be a text; put {text} in quotes if it is one");
                Err(place.invalid(what))
            }
            Value::List(_) | Value::Map(_) => Err(place.invalid("must be a text")),
        }
    }

    /// Reads a list of texts.
    pub(crate) fn list(
        &self,
        id: NodeId,
        place: &Place,
    ) -> Result<Option<Vec<String>>, ComposeError> {
        match &self.tree.node(id).value {
            Value::Null => Ok(None),
            Value::List(items) => {
                let texts = items.iter().map(|item| self.text(*item, place));
                let texts: Result<Vec<_>, _> = texts.collect();
                Ok(Some(texts?.into_iter().flatten().collect()))
            }
            Value::Text(_) | Value::Other(_) | Value::Map(_) => {
                Err(place.invalid("must be a list of texts"))
            }
        }
    }

    /// Reads a text or a list of texts.
    pub(crate) fn text_or_list(
        &self,
        id: NodeId,
        place: &Place,
    ) -> Result<Vec<String>, ComposeError> {
        match &self.tree.node(id).value {
            Value::List(_) => Ok(self.list(id, place)?.unwrap_or_default()),
            Value::Null | Value::Text(_) | Value::Other(_) | Value::Map(_) => {
                Ok(self.text(id, place)?.into_iter().collect())
            }
        }
    }
}
