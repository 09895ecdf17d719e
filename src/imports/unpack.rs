//! From an archive to snippets, one after the other, with every rule checked.

use std::{
    cell::RefCell,
    collections::HashSet,
    fmt,
    fs::File,
    io::{BufReader, Read},
};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::guard::Guard;
use crate::{
    archive::{Archive, Flaw, Limits},
    clock::Timestamp,
    exports::{Entry, FORMAT, MANIFEST, VERSION},
    snippets::{Content, Draft},
};

/// How many bytes a snippet's content may have.
const CONTENT: u64 = 512 << 10;
/// How many bytes the manifest may say of one snippet.
const ELEMENT: usize = 64 << 10;

/// A snippet that is to be imported.
pub struct Item {
    pub draft: Draft,
    /// When it was made and changed, where it comes from.
    pub times: (Option<Timestamp>, Option<Timestamp>),
}

/// Unpacks the archive in `file`; `put` takes each snippet, and says whether more are wanted.
pub fn unpack(file: File, limits: Limits, put: impl FnMut(Item) -> bool) -> Result<(), Flaw> {
    let mut archive = Archive::open(file, limits)?;
    // Asked first, by themselves: what another version says of its snippets cannot be judged here.
    archive.stream(MANIFEST, |_, json| {
        let head: Head = serde_json::from_reader(guarded(json)).map_err(|error| wrong_manifest(&error))?;
        head.require_known()
    })?;
    archive.stream(MANIFEST, |archive, json| {
        let source = Source { archive, put, count: 0, flaw: None };
        let source = RefCell::new(source);
        let mut json = serde_json::Deserializer::from_reader(guarded(json));
        let read = Manifest(&source).deserialize(&mut json).and_then(|()| json.end());
        match (source.into_inner().flaw, read) {
            (Some(flaw), _) => Err(flaw),
            (None, read) => read.map_err(|error| wrong_manifest(&error)),
        }
    })?;
    let left = archive.names().find(|name| *name != MANIFEST);
    match left {
        Some(name) => {
            Err(Flaw::Refused(format!("the archive holds {name:?}, of which the manifest says nothing")))
        }
        None => Ok(()),
    }
}

fn guarded(json: &mut dyn Read) -> impl Read {
    BufReader::with_capacity(1 << 16, Guard::new(json, ELEMENT))
}

fn wrong_manifest(error: &serde_json::Error) -> Flaw {
    Flaw::Refused(format!("{MANIFEST}: {error}"))
}

/// What must be known of a manifest before the rest of it.
#[derive(Deserialize)]
struct Head {
    format: Option<String>,
    version: Option<u64>,
}

impl Head {
    fn require_known(&self) -> Result<(), Flaw> {
        match (self.format.as_deref(), self.version) {
            (Some(FORMAT), Some(VERSION)) => Ok(()),
            (Some(FORMAT), Some(version)) => Err(Flaw::Refused(format!(
                "{MANIFEST}: its version is {version}, and this server knows {VERSION}"
            ))),
            _ => Err(Flaw::Refused(format!(
                "{MANIFEST}: it must say \"format\": \"{FORMAT}\" and its version"
            ))),
        }
    }
}

/// Where the snippets come from and where they go.
struct Source<'a, P> {
    archive: &'a mut Archive,
    put: P,
    count: usize,
    /// Why it was ended, if it was not for the JSON.
    flaw: Option<Flaw>,
}

impl<P: FnMut(Item) -> bool> Source<'_, P> {
    fn take(&mut self, entry: Entry) -> Result<(), Flaw> {
        let refused = |why: &str| Flaw::Refused(format!("{:?}: the content {why}", entry.file));
        if entry.file == MANIFEST {
            return Err(refused("cannot be the manifest"));
        }
        let bytes = self.archive.take(&entry.file, CONTENT)?;
        let text = String::from_utf8(bytes).map_err(|_| refused("is no text in UTF-8"))?;
        let content = Content::try_from(text).map_err(refused)?;
        let Entry { title, language, tags, visibility, created_at, updated_at, .. } = entry;
        let draft = Draft { title, content, language, tags, visibility };
        self.count += 1;
        let wanted = (self.put)(Item { draft, times: (created_at, updated_at) });
        if wanted { Ok(()) } else { Err(Flaw::Refused("nobody wants to know any more".to_owned())) }
    }
}

/// Reads a manifest without keeping it.
struct Manifest<'s, 'a, P>(&'s RefCell<Source<'a, P>>);

impl<'de, P: FnMut(Item) -> bool> DeserializeSeed<'de> for Manifest<'_, '_, P> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de, P: FnMut(Item) -> bool> Visitor<'de> for Manifest<'_, '_, P> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a manifest")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        const KNOWN: &[&str] = &["format", "version", "exported_at", "owner", "snippets", "count"];
        let mut seen = HashSet::new();
        let mut expected = None;
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                "snippets" => map.next_value_seed(Snippets(self.0))?,
                "count" => expected = map.next_value::<Option<usize>>()?,
                known if KNOWN.contains(&known) => drop(map.next_value::<IgnoredAny>()?),
                unknown => return Err(A::Error::unknown_field(unknown, KNOWN)),
            }
            if !seen.insert(name.clone()) {
                return Err(A::Error::custom(format_args!("`{name}` stands there twice")));
            }
        }
        if !seen.contains("snippets") {
            return Err(A::Error::missing_field("snippets"));
        }
        let count = self.0.borrow().count;
        match expected.filter(|expected| *expected != count) {
            Some(expected) => {
                Err(A::Error::custom(format_args!("it says {expected} snippets and lists {count}")))
            }
            None => Ok(()),
        }
    }
}

/// The list of the snippets.
struct Snippets<'s, 'a, P>(&'s RefCell<Source<'a, P>>);

impl<'de, P: FnMut(Item) -> bool> DeserializeSeed<'de> for Snippets<'_, '_, P> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de, P: FnMut(Item) -> bool> Visitor<'de> for Snippets<'_, '_, P> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of snippets")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(entry) = list.next_element::<Entry>()? {
            let mut source = self.0.borrow_mut();
            if let Err(flaw) = source.take(entry) {
                source.flaw = Some(flaw);
                return Err(A::Error::custom("it was ended"));
            }
        }
        Ok(())
    }
}
