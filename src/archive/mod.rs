//! ZIP archives, written and read in memory that does not grow with them.
//!
//! The usual libraries keep the directory of an archive in memory, hundreds of bytes for each file. Here the writer
//! spools it, and the reader keeps a bounded index; what either of them cannot vouch for is refused.

mod directory;
mod reader;
mod writer;

pub use self::{
    directory::Flaw,
    reader::{Archive, Limits},
    writer::{Writer, deflate},
};

const LOCAL_HEADER: u32 = 0x0403_4b50;
const CENTRAL_HEADER: u32 = 0x0201_4b50;
const END: u32 = 0x0605_4b50;
const END_64: u32 = 0x0606_4b50;
const LOCATOR_64: u32 = 0x0706_4b50;

/// The length of an [`END`] record without its comment.
const END_LENGTH: u64 = 22;
/// The length of an [`END_64`] record as everyone writes it.
const END_64_LENGTH: u64 = 56;
/// The length of a [`LOCATOR_64`] record.
const LOCATOR_64_LENGTH: u64 = 20;

/// As they are.
const STORED: u16 = 0;
/// Compressed by DEFLATE.
const DEFLATED: u16 = 8;
/// The flag that says that a name is UTF-8.
const UTF_8: u16 = 1 << 11;
/// The extra field that holds what does not fit into 32 bits.
const EXTRA_64: u16 = 1;

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Read as _, Write as _};

    use chrono::DateTime;
    use proptest::prelude::*;

    use super::{Archive, Flaw, Limits, Writer};
    use crate::clock::Timestamp;

    const LIMITS: Limits = Limits { files: 1_000, bytes: 10 << 20 };

    fn written(files: &[(String, Vec<u8>)]) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new(), tempfile::tempfile().unwrap());
        let at = Timestamp::try_from(DateTime::from_timestamp_millis(1_767_268_801_000).unwrap()).unwrap();
        for (name, content) in files {
            writer.add(name, at, content).unwrap();
        }
        writer.finish().unwrap()
    }

    fn opened(bytes: &[u8]) -> Result<Archive, Flaw> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        Archive::open(file, LIMITS)
    }

    fn everything(bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>, Flaw> {
        let mut archive = opened(bytes)?;
        let mut names: Vec<String> = archive.names().map(str::to_owned).collect();
        names.sort_unstable();
        names.into_iter().map(|name| Ok((name.clone(), archive.take(&name, 1 << 20)?))).collect()
    }

    fn files() -> Vec<(String, Vec<u8>)> {
        let random: Vec<u8> =
            (0..5_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[2]).collect();
        [("a.rs", vec![b'a'; 100_000]), ("b ü.txt", b"short".to_vec()), ("c", random), ("d", Vec::new())]
            .map(|(name, content)| (name.to_owned(), content))
            .into()
    }

    #[test]
    fn what_was_written_is_read() {
        assert_eq!(everything(&written(&files())).unwrap(), files());
    }

    #[test]
    fn others_read_what_was_written() {
        let mut archive = zip::ZipArchive::new(Cursor::new(written(&files()))).unwrap();
        for (index, (name, content)) in files().into_iter().enumerate() {
            let mut file = archive.by_index(index).unwrap();
            let mut read = Vec::new();
            file.read_to_end(&mut read).unwrap();
            assert_eq!((file.name().unwrap().into_owned(), read), (name, content));
            assert_eq!(file.last_modified().unwrap().to_string(), "2026-01-01 12:00:00");
        }
    }

    #[test]
    fn what_others_wrote_is_read() {
        let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, content) in files() {
            writer.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
            writer.write_all(&content).unwrap();
        }
        assert_eq!(everything(&writer.finish().unwrap().into_inner()).unwrap(), files());
        let mut streamed = zip::ZipWriter::new_stream(Vec::new());
        streamed.start_file("x", zip::write::SimpleFileOptions::default()).unwrap();
        streamed.write_all(b"streamed").unwrap();
        let read = everything(&streamed.finish().unwrap().into_inner()).unwrap();
        assert_eq!(read, [("x".to_owned(), b"streamed".to_vec())]);
    }

    #[test]
    fn more_than_65535_files_fit() {
        let files: Vec<_> = (0..66_000).map(|n| (format!("{n}"), Vec::new())).collect();
        let bytes = written(&files);
        assert_eq!(zip::ZipArchive::new(Cursor::new(&bytes)).unwrap().len(), files.len());
        let Err(Flaw::Refused(why)) = opened(&bytes) else { panic!("it has more files than allowed") };
        assert!(why.contains("66000") && why.contains("1000"), "{why}");
    }

    fn patched(from: &[u8], at: usize, with: &[u8]) -> Vec<u8> {
        let mut bytes = from.to_vec();
        bytes[at..at + with.len()].copy_from_slice(with);
        bytes
    }

    fn place(of: &[u8], bytes: &[u8]) -> usize {
        bytes.windows(of.len()).position(|window| window == of).expect("it is there")
    }

    #[test]
    fn what_lies_is_refused() {
        let good = written(&[("a".to_owned(), b"content".to_vec())]);
        let central = place(b"PK\x01\x02", &good);
        let data = place(b"content", &good);
        for (at, with, reason) in [
            (data, &b"CONTENT"[..], "damaged"),
            (central + 16, &[1, 2, 3, 4], "damaged"),
            (central + 8, &[1, 0], "encrypted"),
            (central + 10, &[12, 0], "compressed in a way"),
            (central + 24, &[6, 0, 0, 0], "size"),
            (central + 42, &[7, 0, 0, 0], "overlap"),
            (central + 46, b"b", "name"),
            (0, b"XX", "place"),
            (good.len() - 22, b"XX", "no ZIP archive"),
            (good.len() - 6, &[9, 0, 0, 0], "directory"),
            (good.len() - 12, &[2, 0], "cut off"),
        ] {
            let Err(Flaw::Refused(why)) = everything(&patched(&good, at, with)) else { panic!("{reason}") };
            assert!(why.contains(reason), "{reason}: {why}");
        }
    }

    #[test]
    fn paths_and_repeated_names_are_refused() {
        for name in ["../a", "a/b", "a\\b", "/a", "a/", "..", ".", "", "a\0b", "C:a", "a\n"] {
            let Err(Flaw::Refused(why)) = everything(&written(&[(name.to_owned(), Vec::new())])) else {
                panic!("{name:?} must be refused")
            };
            assert!(why.contains("plain name"), "{why}");
        }
        let twice = [("a".to_owned(), Vec::new()), ("a".to_owned(), Vec::new())];
        assert!(matches!(everything(&written(&twice)), Err(Flaw::Refused(why)) if why.contains("twice")));
    }

    /// One compressed text for two files: a small archive could hold any amount of them.
    #[test]
    fn files_that_share_their_bytes_are_refused() {
        let good = written(&[("a".to_owned(), b"content".to_vec()), ("a2".to_owned(), b"content".to_vec())]);
        let central = place(b"PK\x01\x02", &good);
        let second = central + 47;
        let Err(Flaw::Refused(why)) = everything(&patched(&good, second + 42, &[0, 0, 0, 0])) else {
            panic!("it must be refused")
        };
        assert!(why.contains("overlap"), "{why}");
    }

    #[test]
    fn bombs_are_refused_before_they_go_off() {
        let file = |name: &str, size: usize| (name.to_owned(), vec![0_u8; size]);
        let large: Vec<_> = (0..11).map(|n| file(&format!("{n}"), 1 << 20)).collect();
        assert!(matches!(opened(&written(&large)), Err(Flaw::Refused(why)) if why.contains("bytes")));
        let Err(Flaw::Refused(why)) = everything(&written(&[file("a", (1 << 20) + 1)])) else {
            panic!("large")
        };
        assert!(why.contains("at most"), "{why}");
        // One that says it is small.
        let bytes = written(&[file("a", 1 << 20)]);
        let central = place(b"PK\x01\x02", &bytes);
        let Err(Flaw::Refused(why)) = everything(&patched(&bytes, central + 24, &[9, 0, 0, 0])) else {
            panic!("it lies about its size")
        };
        assert!(why.contains("size"), "{why}");
    }

    proptest! {
        #[test]
        fn any_files_survive(contents in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..2_000), 0..8)) {
            let files: Vec<_> = contents.into_iter().enumerate().map(|(n, c)| (format!("{n}"), c)).collect();
            prop_assert_eq!(everything(&written(&files)).unwrap(), files);
        }

        #[test]
        fn no_damage_can_do_harm(damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
            let good = written(&files());
            let mut bytes = good.clone();
            for (at, with) in damage {
                let at = at.index(bytes.len());
                bytes[at] = with;
            }
            if let Ok(read) = everything(&bytes) {
                // Damage that is not noticed has not touched a content.
                let contents = |files: Vec<(String, Vec<u8>)>| {
                    let mut contents: Vec<Vec<u8>> = files.into_iter().map(|file| file.1).collect();
                    contents.sort_unstable();
                    contents
                };
                prop_assert_eq!(contents(read), contents(files()));
            }
        }

        #[test]
        fn noise_is_no_archive(noise in prop::collection::vec(any::<u8>(), 0..4_000)) {
            prop_assert!(opened(&noise).is_err());
        }
    }
}
