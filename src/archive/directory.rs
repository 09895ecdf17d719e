//! The directory at the end of an archive, and why one may be refused.

use std::{
    fs::File,
    io::{self, Read, Seek as _, SeekFrom},
};

use super::{
    CENTRAL_HEADER, DEFLATED, END, END_64, END_64_LENGTH, END_LENGTH, EXTRA_64, LOCATOR_64,
    LOCATOR_64_LENGTH, STORED,
};

/// Why an archive cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Flaw {
    /// It is not what it should be; in words for whoever sent it.
    #[error("{0}")]
    Refused(String),
    /// The file with it cannot be read.
    #[error(transparent)]
    Unreadable(#[from] io::Error),
}

pub(super) type Result<T, E = Flaw> = std::result::Result<T, E>;

/// A refusal as a result.
pub(super) fn refuse<T>(why: impl Into<String>) -> Result<T> {
    Err(Flaw::Refused(why.into()))
}

/// Where the directory of an archive is.
pub(super) struct Directory {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) files: u64,
}

/// What the directory says of a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) place: u64,
    pub(super) packed_size: u64,
    pub(super) size: u64,
    pub(super) crc: u32,
    pub(super) is_packed: bool,
}

/// Finds the directory by the record at the end, which must be the last thing, with the directory right before it.
pub(super) fn find_directory(file: &mut File) -> Result<Directory> {
    let length = file.seek(SeekFrom::End(0))?;
    let tail_length = length.min(END_LENGTH + u64::from(u16::MAX));
    let tail_start = length - tail_length;
    file.seek(SeekFrom::Start(tail_start))?;
    let mut tail = Vec::new();
    file.take(tail_length).read_to_end(&mut tail)?;
    let is_end = |at: &usize| {
        let comment = tail.get(at + 20..at + 22).map(|bytes| usize::from(short(bytes, 0)));
        long_at(&tail, *at) == Some(END) && comment == (tail.len() - at).checked_sub(22)
    };
    let Some(at) = (0..tail.len().saturating_sub(21)).rev().find(is_end) else {
        return refuse("this is no ZIP archive, or its end is missing");
    };
    let (record, mut end) = (&tail[at..], tail_start + at as u64);
    let (mut files, mut start) = (u64::from(short(record, 10)), u64::from(long(record, 16)));
    let mut size = u64::from(long(record, 12));
    if files == u64::from(u16::MAX) || start.max(size) == u64::from(u32::MAX) {
        (files, size, start) = read_end_64(file, end)?;
        end -= END_64_LENGTH + LOCATOR_64_LENGTH;
    }
    if short(record, 4) != 0 || short(record, 6) != 0 {
        return refuse("the archive is one of several volumes");
    }
    if start.checked_add(size) != Some(end) {
        return refuse("the directory of the archive is not where it should be");
    }
    Ok(Directory { start, end, files })
}

/// Files, size and start of the directory of a large archive, whose end record is at `end`.
fn read_end_64(file: &mut File, end: u64) -> Result<(u64, u64, u64)> {
    let Some(place) = end.checked_sub(END_64_LENGTH + LOCATOR_64_LENGTH) else {
        return refuse("the directory of the archive is not where it should be");
    };
    file.seek(SeekFrom::Start(place))?;
    let record: [u8; 76] = read_array(file)?;
    if long(&record, 0) != END_64 || long(&record, 56) != LOCATOR_64 || longest(&record, 64) != place {
        return refuse("the directory of the archive is not where it should be");
    }
    Ok((longest(&record, 32), longest(&record, 40), longest(&record, 48)))
}

/// One entry of the directory.
pub(super) fn read_entry(from: &mut impl Read) -> Result<(Box<str>, Entry)> {
    let header: [u8; 46] = read_array(from)?;
    if long(&header, 0) != CENTRAL_HEADER {
        return refuse("the directory of the archive has fewer files than it says");
    }
    let lengths = [28, 30, 32].map(|at| usize::from(short(&header, at)));
    let mut texts = vec![0; lengths.iter().sum()];
    from.read_exact(&mut texts).map_err(cut_off)?;
    let (name, extra) = (&texts[..lengths[0]], &texts[lengths[0]..lengths[0] + lengths[1]]);
    let name = plain_name(name)?;
    let (flags, method) = (short(&header, 8), short(&header, 10));
    if flags & 1 != 0 {
        return refuse(format!("{name:?} is encrypted"));
    }
    if method != STORED && method != DEFLATED {
        return refuse(format!("{name:?} is compressed in a way that is not known here"));
    }
    let mut wide = wide_numbers(extra);
    let numbers = [24, 20, 42].map(|at| match long(&header, at) {
        u32::MAX => wide.next(),
        number => Some(u64::from(number)),
    });
    let [Some(size), Some(packed_size), Some(place)] = numbers else {
        return refuse(format!("{name:?} has no size or place"));
    };
    let is_packed = method == DEFLATED;
    Ok((name.into(), Entry { place, packed_size, size, crc: long(&header, 16), is_packed }))
}

/// The numbers of 64 bits in an extra field, in the order in which the header misses them.
fn wide_numbers(mut extra: &[u8]) -> impl Iterator<Item = u64> {
    let mut found: &[u8] = &[];
    while let Some((head, rest)) = extra.split_at_checked(4) {
        let Some((field, behind)) = rest.split_at_checked(usize::from(short(head, 2))) else { break };
        if short(head, 0) == EXTRA_64 {
            found = field;
        }
        extra = behind;
    }
    found.chunks_exact(8).map(|bytes| longest(bytes, 0))
}

/// A name that is a name on every system, and no path anywhere.
fn plain_name(bytes: &[u8]) -> Result<&str> {
    let plain = |name: &&str| {
        (1..=255).contains(&name.len())
            && !name.contains(['/', '\\', ':'])
            && !name.contains(char::is_control)
            && *name != "."
            && *name != ".."
    };
    match std::str::from_utf8(bytes).ok().filter(plain) {
        Some(name) => Ok(name),
        None => refuse(format!("{:?} is no plain name of a file", String::from_utf8_lossy(bytes))),
    }
}

pub(super) fn read_array<const N: usize>(from: &mut impl Read) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes).map_err(cut_off)?;
    Ok(bytes)
}

pub(super) fn cut_off(error: io::Error) -> Flaw {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Flaw::Refused("the archive is cut off".to_owned()),
        _ => Flaw::Unreadable(error),
    }
}

pub(super) fn short(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

pub(super) fn long(bytes: &[u8], at: usize) -> u32 {
    u32::from(short(bytes, at + 2)) << 16 | u32::from(short(bytes, at))
}

fn long_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4).map(|bytes| long(bytes, 0))
}

fn longest(bytes: &[u8], at: usize) -> u64 {
    u64::from(long(bytes, at + 4)) << 32 | u64::from(long(bytes, at))
}
