//! Writes an archive from front to back, so that it can go anywhere, and remembers of each file next to nothing.

use std::{
    fs::File,
    io::{self, BufReader, BufWriter, Seek as _, SeekFrom, Write},
};

use chrono::{DateTime, Datelike as _, Timelike as _, Utc};
use flate2::{Compression, Crc, write::DeflateEncoder};

use super::{CENTRAL_HEADER, DEFLATED, END, END_64, EXTRA_64, LOCAL_HEADER, LOCATOR_64, STORED, UTF_8};
use crate::clock::Timestamp;

/// The version of the format that a reader must know: 2.0 for DEFLATE, 4.5 for sizes beyond 32 bits.
const VERSION: u16 = 20;
const VERSION_64: u16 = 45;
/// Made on Unix, so that the permissions below count.
const MADE_BY: u16 = (3 << 8) | VERSION_64;
/// A plain file that its owner may write and everyone may read.
const PERMISSIONS: u32 = 0o100_644 << 16;
/// What stands in a field of 32 bits whose value is in the extra field.
const ELSEWHERE: u32 = u32::MAX;

/// Writes an archive.
pub struct Writer<W> {
    out: W,
    position: u64,
    files: u64,
    /// The directory, which stands at the end of the archive.
    directory: BufWriter<File>,
    directory_size: u64,
    packed: Vec<u8>,
}

/// What the headers say of a file.
struct Form {
    method: u16,
    crc: u32,
    packed_size: u32,
    size: u32,
}

/// The encoder of an archive's files.
pub fn deflate<W: Write>(out: W) -> DeflateEncoder<W> {
    DeflateEncoder::new(out, Compression::fast())
}

impl<W: Write> Writer<W> {
    /// A writer to `out`, with an empty file for the directory.
    pub fn new(out: W, spool: File) -> Self {
        let directory = BufWriter::new(spool);
        Self { out, position: 0, files: 0, directory, directory_size: 0, packed: Vec::new() }
    }

    /// Adds a file with its content.
    pub fn add(&mut self, name: &str, modified: Timestamp, content: &[u8]) -> io::Result<()> {
        let mut packed = std::mem::take(&mut self.packed);
        packed.clear();
        let mut encoder = deflate(packed);
        encoder.write_all(content)?;
        let packed = encoder.finish()?;
        let mut crc = Crc::new();
        crc.update(content);
        let shorter = packed.len() < content.len();
        let (method, bytes) = if shorter { (DEFLATED, packed.as_slice()) } else { (STORED, content) };
        let (packed_size, size) = (size(bytes.len() as u64)?, size(content.len() as u64)?);
        self.begin(name, modified, &Form { method, crc: crc.sum(), packed_size, size })?;
        self.put(bytes)?;
        self.packed = packed;
        Ok(())
    }

    /// Adds a file that [`deflate`] has compressed into `packed`, from `content` bytes with this checksum.
    pub fn add_packed(
        &mut self,
        name: &str,
        modified: Timestamp,
        mut packed: File,
        content: &Crc,
        content_size: u64,
    ) -> io::Result<()> {
        let packed_size = size(packed.seek(SeekFrom::End(0))?)?;
        packed.rewind()?;
        let (crc, size) = (content.sum(), size(content_size)?);
        self.begin(name, modified, &Form { method: DEFLATED, crc, packed_size, size })?;
        self.copy(packed)
    }

    /// Writes the directory and ends the archive.
    pub fn finish(mut self) -> io::Result<W> {
        let (start, size, files) = (self.position, self.directory_size, self.files);
        self.directory.flush()?;
        let spool = self.directory.get_ref().try_clone()?;
        self.copy(spool)?;
        let is_large = files >= u64::from(u16::MAX) || start.max(size) >= u64::from(ELSEWHERE);
        if is_large {
            self.put(&end_64(files, size, start, self.position))?;
        }
        let short = |value: u64| u16::try_from(value).unwrap_or(u16::MAX).to_le_bytes();
        let long = |value: u64| u32::try_from(value).unwrap_or(ELSEWHERE).to_le_bytes();
        let mut end = END.to_le_bytes().to_vec();
        end.extend([0; 4]); // One volume, and this is it.
        end.extend([short(files), short(files)].concat());
        end.extend([long(size), long(start)].concat());
        end.extend([0; 2]); // No comment.
        self.put(&end)?;
        self.out.flush()?;
        Ok(self.out)
    }

    /// The header in front of a file, and its entry in the directory.
    fn begin(&mut self, name: &str, modified: Timestamp, it: &Form) -> io::Result<()> {
        let place = self.position;
        let name_length = u16::try_from(name.len()).map_err(|_| io::Error::other("the name is too long"))?;
        let far = place >= u64::from(ELSEWHERE);
        let mut common = UTF_8.to_le_bytes().to_vec();
        common.extend(it.method.to_le_bytes());
        common.extend(dos_time(modified).to_le_bytes());
        for number in [it.crc, it.packed_size, it.size] {
            common.extend(number.to_le_bytes());
        }
        common.extend(name_length.to_le_bytes());

        let mut local = [&LOCAL_HEADER.to_le_bytes()[..], &VERSION.to_le_bytes(), &common].concat();
        local.extend([0; 2]); // No extra field.
        local.extend(name.as_bytes());
        self.put(&local)?;

        let mut entry = CENTRAL_HEADER.to_le_bytes().to_vec();
        entry.extend(MADE_BY.to_le_bytes());
        entry.extend((if far { VERSION_64 } else { VERSION }).to_le_bytes());
        entry.extend(common);
        entry.extend((if far { 12_u16 } else { 0 }).to_le_bytes());
        entry.extend([0; 6]); // No comment, the first volume, no internal attributes.
        entry.extend(PERMISSIONS.to_le_bytes());
        entry.extend(u32::try_from(place).unwrap_or(ELSEWHERE).to_le_bytes());
        entry.extend(name.as_bytes());
        if far {
            entry.extend([EXTRA_64.to_le_bytes(), 8_u16.to_le_bytes()].concat());
            entry.extend(place.to_le_bytes());
        }
        self.directory.write_all(&entry)?;
        self.directory_size += entry.len() as u64;
        self.files += 1;
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.position += bytes.len() as u64;
        Ok(())
    }

    fn copy(&mut self, mut from: File) -> io::Result<()> {
        from.rewind()?;
        let copied = io::copy(&mut BufReader::with_capacity(1 << 16, from), &mut self.out)?;
        self.position += copied;
        Ok(())
    }
}

/// Where the directory is, for archives that are too large to say it in 32 bits.
fn end_64(files: u64, size: u64, start: u64, position: u64) -> Vec<u8> {
    let mut record = END_64.to_le_bytes().to_vec();
    record.extend(44_u64.to_le_bytes()); // The bytes that follow.
    record.extend([VERSION_64.to_le_bytes(), VERSION_64.to_le_bytes()].concat());
    record.extend([0; 8]);
    for number in [files, files, size, start] {
        record.extend(number.to_le_bytes());
    }
    record.extend(LOCATOR_64.to_le_bytes());
    record.extend([0; 4]);
    record.extend(position.to_le_bytes());
    record.extend(1_u32.to_le_bytes());
    record
}

fn size(size: u64) -> io::Result<u32> {
    let fits = u32::try_from(size).ok().filter(|size| *size != ELSEWHERE);
    fits.ok_or_else(|| io::Error::other("a file of 4 GiB does not fit into an archive"))
}

/// The date and time in the two words of MS-DOS, which know steps of two seconds from 1980 to 2107.
fn dos_time(at: Timestamp) -> u32 {
    let at = DateTime::<Utc>::from_timestamp_millis(at.unix_millis()).unwrap_or_default();
    let years = u32::try_from(at.year() - 1980).unwrap_or(0).min(127);
    let date = (years << 9) | (at.month() << 5) | at.day();
    let time = (at.hour() << 11) | (at.minute() << 5) | (at.second() / 2);
    (date << 16) | time
}
