//! `manifest.json`: what an archive holds, with everything about each snippet that its file does not say.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
};

use flate2::{Crc, write::DeflateEncoder};
use serde::{Deserialize, Serialize};

use crate::{
    accounts::Profile,
    archive,
    clock::Timestamp,
    snippets::{Language, SnippetId, SnippetSummary, Tags, Title, Visibility},
};

/// The name of the manifest in an archive.
pub const NAME: &str = "manifest.json";
/// What the manifest says that it is.
pub const FORMAT: &str = "snippetbox";
/// The version of the manifest that this program writes and reads.
pub const VERSION: u64 = 1;

/// A snippet in the manifest. To be imported it needs a file and a title; the rest has defaults.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The name of its file
    pub file: String,
    pub title: Title,
    #[serde(default)]
    pub language: Language,
    #[serde(default)]
    pub tags: Tags,
    #[serde(default)]
    pub visibility: Visibility,
    #[serde(default)]
    pub created_at: Option<Timestamp>,
    #[serde(default)]
    pub updated_at: Option<Timestamp>,
    #[serde(default)]
    pub id: Option<SnippetId>,
    #[serde(default)]
    pub version: Option<i64>,
    #[serde(default)]
    pub views: Option<i64>,
}

impl Entry {
    /// What the manifest says of a snippet.
    #[must_use]
    pub fn of(file: String, snippet: &SnippetSummary) -> Self {
        Self {
            file,
            title: snippet.title.clone(),
            language: snippet.language.clone(),
            tags: snippet.tags.clone(),
            visibility: snippet.visibility,
            created_at: Some(snippet.created_at),
            updated_at: Some(snippet.updated_at),
            id: Some(snippet.id),
            version: Some(snippet.version),
            views: Some(snippet.views),
        }
    }
}

/// Writes a manifest as its archive grows, compressed, into a file.
pub struct ManifestWriter {
    out: DeflateEncoder<BufWriter<File>>,
    content: Crc,
    size: u64,
    count: u64,
}

impl ManifestWriter {
    /// Begins a manifest in an empty file.
    pub fn new(spool: File, owner: &Profile, at: Timestamp) -> io::Result<Self> {
        let out = archive::deflate(BufWriter::new(spool));
        let mut manifest = Self { out, content: Crc::new(), size: 0, count: 0 };
        let owner = serde_json::to_string(owner)?;
        manifest.put(&format!(
            "{{\n\"format\": \"{FORMAT}\",\n\"version\": {VERSION},\n\"exported_at\": \"{at}\",\n\"owner\": {owner},\n\
             \"snippets\": ["
        ))?;
        Ok(manifest)
    }

    /// Adds a snippet, on a line of its own.
    pub fn add(&mut self, entry: &Entry) -> io::Result<()> {
        let comma = if self.count > 0 { "," } else { "" };
        self.count += 1;
        self.put(&format!("{comma}\n{}", serde_json::to_string(entry)?))
    }

    /// Ends the manifest and puts it into its archive.
    pub fn finish<W: Write>(mut self, archive: &mut archive::Writer<W>, at: Timestamp) -> io::Result<()> {
        self.put(&format!("\n],\n\"count\": {}\n}}\n", self.count))?;
        let spool = self.out.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
        archive.add_packed(NAME, at, spool, &self.content, self.size)
    }

    fn put(&mut self, text: &str) -> io::Result<()> {
        self.content.update(text.as_bytes());
        self.size += text.len() as u64;
        self.out.write_all(text.as_bytes())
    }
}
