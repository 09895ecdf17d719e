//! Reads archives that anybody may have made. Nothing that an archive says of itself is believed without a check.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufReader, Read, Seek as _, SeekFrom, Take},
};

use flate2::{CrcReader, read::DeflateDecoder};

use super::{
    LOCAL_HEADER,
    directory::{Entry, Flaw, Result, cut_off, find_directory, long, read_array, read_entry, refuse, short},
};

/// How much an archive may hold.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Files.
    pub files: u64,
    /// Bytes of all files together, unpacked.
    pub bytes: u64,
}

/// An archive with an index of its files.
pub struct Archive {
    file: File,
    entries: HashMap<Box<str>, Entry>,
}

impl Archive {
    /// Reads the directory of an archive: each file has a plain name of its own and bytes of its own, and all of
    /// them together keep the limits.
    pub fn open(mut file: File, limits: Limits) -> Result<Self> {
        let directory = find_directory(&mut file)?;
        if directory.files > limits.files {
            let (files, most) = (directory.files, limits.files);
            return refuse(format!("the archive has {files} files; at most {most} are allowed"));
        }
        let mut entries: HashMap<Box<str>, Entry> = HashMap::new();
        file.seek(SeekFrom::Start(directory.start))?;
        let mut from = BufReader::new(&file).take(directory.end - directory.start);
        let mut bytes = 0_u64;
        for _ in 0..directory.files {
            let (name, entry) = read_entry(&mut from)?;
            bytes = bytes.saturating_add(entry.size);
            if entries.insert(name.clone(), entry).is_some() {
                return refuse(format!("the archive holds {name:?} twice"));
            }
        }
        if from.limit() > 0 {
            return refuse("the directory of the archive is longer than it says");
        }
        if bytes > limits.bytes {
            return refuse(format!(
                "the archive unpacks to {bytes} bytes; at most {} are allowed",
                limits.bytes
            ));
        }
        let archive = Self { file, entries };
        archive.require_bytes_of_their_own(directory.start)?;
        Ok(archive)
    }

    /// The names of the files that have not been taken.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(AsRef::as_ref)
    }

    /// Reads a file of at most `most` bytes, once.
    pub fn take(&mut self, name: &str, most: u64) -> Result<Vec<u8>> {
        let Some(entry) = self.entries.remove(name) else {
            return refuse(format!("the archive has no file {name:?}, or it is named twice"));
        };
        if entry.size > most {
            return refuse(format!("{name:?} has {} bytes; at most {most} are allowed", entry.size));
        }
        let mut content = Vec::new();
        let mut reader = self.reader(name, entry)?;
        reader.read_to_end(&mut content).map_err(|error| damaged(name, error))?;
        reader.require_end(name)?;
        Ok(content)
    }

    /// Lets `read` read a file as it is unpacked, piece by piece, while it takes others.
    pub fn stream<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&mut Self, &mut dyn Read) -> Result<T>,
    ) -> Result<T> {
        let Some(entry) = self.entries.get(name).copied() else {
            return refuse(format!("the archive has no file {name:?}"));
        };
        let mut reader = self.reader(name, entry)?;
        let result = read(self, &mut reader)?;
        reader.require_end(name)?;
        Ok(result)
    }

    fn reader(&self, name: &str, entry: Entry) -> Result<FileReader> {
        let mut at = At { file: self.file.try_clone()?, position: entry.place };
        let header: [u8; 30] = read_array(&mut at)?;
        let mut stored_name = vec![0; usize::from(short(&header, 26))];
        at.read_exact(&mut stored_name).map_err(cut_off)?;
        if long(&header, 0) != LOCAL_HEADER {
            return refuse(format!("{name:?} is not at its place in the archive"));
        }
        if stored_name != name.as_bytes() {
            return refuse(format!("{name:?} has another name at its place in the archive"));
        }
        at.position += u64::from(short(&header, 28));
        let packed = BufReader::new(at).take(entry.packed_size);
        let unpacked: Box<dyn Read> =
            if entry.is_packed { Box::new(DeflateDecoder::new(packed)) } else { Box::new(packed) };
        // One byte more than it says it has, so that a file that lies is found out.
        Ok(FileReader { unpacked: CrcReader::new(unpacked.take(entry.size + 1)), entry })
    }

    /// Bytes that several files shared could unpack to any amount.
    fn require_bytes_of_their_own(&self, end: u64) -> Result<()> {
        let mut places: Vec<(u64, u64)> =
            self.entries.values().map(|it| (it.place, it.packed_size)).collect();
        places.sort_unstable();
        let nexts = places.iter().skip(1).map(|place| place.0).chain([end]);
        for ((place, packed_size), next) in places.iter().zip(nexts) {
            let after = place.checked_add(30).and_then(|start| start.checked_add(*packed_size));
            if after.is_none_or(|after| after > next) {
                return refuse("files of the archive overlap");
            }
        }
        Ok(())
    }
}

/// A file as it is unpacked.
struct FileReader {
    unpacked: CrcReader<Take<Box<dyn Read>>>,
    entry: Entry,
}

impl Read for FileReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.unpacked.read(buffer)
    }
}

impl FileReader {
    /// Reads what is left, and holds all of it against what the archive says.
    fn require_end(&mut self, name: &str) -> Result<()> {
        io::copy(&mut self.unpacked, &mut io::sink()).map_err(|error| damaged(name, error))?;
        let read = self.entry.size + 1 - self.unpacked.get_ref().limit();
        if read != self.entry.size {
            return refuse(format!("{name:?} has another size than the archive says"));
        }
        if self.unpacked.crc().sum() != self.entry.crc {
            return refuse(format!("{name:?} is damaged: its checksum is wrong"));
        }
        Ok(())
    }
}

/// Reads a file from a place of its own, whatever else reads it.
struct At {
    file: File,
    position: u64,
}

impl Read for At {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.seek(SeekFrom::Start(self.position))?;
        let read = self.file.read(buffer)?;
        self.position += read as u64;
        Ok(read)
    }
}

/// What it means that a file cannot be unpacked.
fn damaged(name: &str, error: io::Error) -> Flaw {
    match error.kind() {
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
            Flaw::Refused(format!("{name:?} is damaged: {error}"))
        }
        _ => Flaw::Unreadable(error),
    }
}
