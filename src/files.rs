//! Files that the server keeps outside the database: in a folder, or in S3.

use std::{
    fs::File,
    io::{Seek as _, Write as _},
    path::{Path as FsPath, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt as _};
use object_store::{
    GetOptions, GetRange, GetResultPayload, ObjectStore, ObjectStoreExt as _, WriteMultipart,
    aws::AmazonS3Builder, local::LocalFileSystem, path::Path,
};

use crate::error::{Error, Result};

/// How many bytes go to the store at once. S3 wants at least 5 MiB, and at most 10,000 such parts.
const PART: usize = 5 << 20;

/// The files of this installation, or of this node where they are in a folder.
#[derive(Clone)]
pub struct Files {
    store: Arc<dyn ObjectStore>,
    /// The folder, unless the files are in S3.
    folder: Option<PathBuf>,
    /// Where what is needed for a moment is written down.
    scratch: PathBuf,
    prefix: String,
}

impl Files {
    /// The files at `url` (`s3://BUCKET/PREFIX`, with the usual `AWS_…` variables, or `file:///FOLDER`), else in
    /// `DATA_DIR/files`; each installation has a folder of its own there.
    ///
    /// # Errors
    /// When the folder cannot be made, or the URL or the variables are wrong.
    pub fn open(url: Option<&str>, data_dir: &FsPath, installation: &str) -> Result<Self> {
        let shared = url.and_then(|url| url.strip_prefix("file://"));
        let folder = shared.map_or_else(|| data_dir.join("files"), PathBuf::from).join(installation);
        std::fs::create_dir_all(&folder)?;
        let Some(url) = url.filter(|_| shared.is_none()) else {
            let store = LocalFileSystem::new_with_prefix(&folder)?.with_fsync(true);
            let scratch = folder.clone();
            return Ok(Self { store: Arc::new(store), folder: Some(folder), scratch, prefix: String::new() });
        };
        let store = AmazonS3Builder::from_env().with_url(url).build()?;
        let path = url.split_once("://").and_then(|(_, rest)| rest.split_once('/'));
        let prefix = path.map_or("", |(_, prefix)| prefix.trim_matches('/'));
        let prefix = format!("{prefix}/{installation}");
        Ok(Self { store: Arc::new(store), folder: None, scratch: folder, prefix })
    }

    /// A file without a name, which is gone when it is closed or the process dies.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn scratch(&self) -> Result<File> {
        Ok(tempfile::tempfile_in(&self.scratch)?)
    }

    /// Stores what the stream brings; it is there as a whole, or not at all.
    ///
    /// # Errors
    /// Of the stream or of the store.
    pub async fn write(
        &self,
        name: &str,
        mut pieces: impl Stream<Item = Result<Bytes>> + Unpin,
    ) -> Result<u64> {
        let upload = self.store.put_multipart(&self.path(name)).await?;
        let mut out = WriteMultipart::new_with_chunk_size(upload, PART);
        match copy(&mut pieces, &mut out).await {
            Ok(written) => {
                out.finish().await?;
                Ok(written)
            }
            Err(error) => {
                out.abort().await?;
                Err(error)
            }
        }
    }

    /// A part of a file, piece by piece.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no such file.
    pub async fn read(
        &self,
        name: &str,
        range: std::ops::Range<u64>,
    ) -> Result<impl Stream<Item = Result<Bytes>> + use<>> {
        let options = GetOptions { range: Some(GetRange::Bounded(range)), ..GetOptions::default() };
        let found = self.store.get_opts(&self.path(name), options).await?;
        Ok(found.into_stream().map_err(Error::from))
    }

    /// A file to read from at any place.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no such file.
    pub async fn open_file(&self, name: &str) -> Result<File> {
        let found = self.store.get(&self.path(name)).await?;
        if let GetResultPayload::File(file, _) = found.payload {
            return Ok(file);
        }
        let mut copy = self.scratch()?;
        let mut pieces = found.into_stream();
        while let Some(piece) = pieces.try_next().await? {
            copy.write_all(&piece)?;
        }
        copy.rewind()?;
        Ok(copy)
    }

    /// Removes a file; one that is not there is removed already.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn remove(&self, name: &str) -> Result<()> {
        match self.store.delete(&self.path(name)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The names of all files. In a folder, half-written ones are among them, as `NAME#1`; those of S3 are its own
    /// affair (a rule of the bucket ends uploads that were not completed).
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn names(&self) -> Result<Vec<String>> {
        if let Some(folder) = &self.folder {
            let entries = std::fs::read_dir(folder)?.collect::<std::io::Result<Vec<_>>>()?;
            return Ok(entries.iter().filter_map(|entry| entry.file_name().into_string().ok()).collect());
        }
        let prefix = Path::from(self.prefix.as_str());
        let found = self.store.list(Some(&prefix)).try_collect::<Vec<_>>().await?;
        Ok(found.iter().filter_map(|meta| meta.location.filename().map(str::to_owned)).collect())
    }

    /// Removes a file that nobody is writing any more, half-written or not.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn remove_left_over(&self, name: &str) -> Result<()> {
        match &self.folder {
            Some(folder) => Ok(std::fs::remove_file(folder.join(name))?),
            None => self.remove(name).await,
        }
    }

    fn path(&self, name: &str) -> Path {
        Path::from(self.prefix.as_str()).join(name)
    }
}

/// Passes pieces on, one part at a time, and counts their bytes.
async fn copy(
    pieces: &mut (impl Stream<Item = Result<Bytes>> + Unpin),
    out: &mut WriteMultipart,
) -> Result<u64> {
    let mut written = 0;
    while let Some(piece) = pieces.try_next().await? {
        written += piece.len() as u64;
        out.put(piece);
        out.wait_for_capacity(1).await?;
    }
    Ok(written)
}

impl From<object_store::Error> for Error {
    fn from(error: object_store::Error) -> Self {
        match error {
            object_store::Error::NotFound { .. } => Self::NotFound("file"),
            error if is_disk_full(&error) => Self::StorageFull,
            error => Self::Internal(format!("files: {error}")),
        }
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        match error {
            error if is_disk_full(&error) => Self::StorageFull,
            error => Self::Internal(format!("files: {error}")),
        }
    }
}

/// Whether an error, or what lies behind it, is that of a full disk.
fn is_disk_full(error: &(dyn std::error::Error + 'static)) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    std::iter::successors(Some(error), |error| error.source()).any(|error| {
        error
            .downcast_ref::<std::io::Error>()
            .is_some_and(|error| matches!(error.kind(), StorageFull | QuotaExceeded))
    })
}

#[cfg(test)]
mod tests {
    use std::io;

    use crate::error::Error;

    fn told(kind: io::ErrorKind) -> Error {
        // Twice as deep as the store puts it.
        let inner = object_store::Error::Generic { store: "inner", source: Box::new(io::Error::from(kind)) };
        object_store::Error::Generic { store: "outer", source: Box::new(inner) }.into()
    }

    #[test]
    fn a_full_disk_is_told_as_such() {
        assert!(matches!(told(io::ErrorKind::StorageFull), Error::StorageFull));
        assert!(matches!(told(io::ErrorKind::QuotaExceeded), Error::StorageFull));
        assert!(matches!(told(io::ErrorKind::PermissionDenied), Error::Internal(_)));
        assert!(matches!(Error::from(io::Error::from(io::ErrorKind::StorageFull)), Error::StorageFull));
    }
}
