//! What the files of an archive are called: sane on every system, and no two alike.

use crate::snippets::{Language, Title};

/// How many bytes of the title stand in a name.
const TITLE: usize = 60;

/// The extensions of languages; those of others are `txt`.
const EXTENSIONS: &[(&str, &str)] = &[
    ("ada", "adb"),
    ("asm", "s"),
    ("bash", "sh"),
    ("c", "c"),
    ("c++", "cpp"),
    ("c#", "cs"),
    ("clojure", "clj"),
    ("cpp", "cpp"),
    ("csharp", "cs"),
    ("css", "css"),
    ("csv", "csv"),
    ("dart", "dart"),
    ("diff", "diff"),
    ("dockerfile", "dockerfile"),
    ("elixir", "ex"),
    ("elm", "elm"),
    ("erlang", "erl"),
    ("f#", "fs"),
    ("fortran", "f90"),
    ("fsharp", "fs"),
    ("go", "go"),
    ("graphql", "graphql"),
    ("groovy", "groovy"),
    ("haskell", "hs"),
    ("html", "html"),
    ("ini", "ini"),
    ("java", "java"),
    ("javascript", "js"),
    ("json", "json"),
    ("jsx", "jsx"),
    ("julia", "jl"),
    ("kotlin", "kt"),
    ("latex", "tex"),
    ("less", "less"),
    ("lisp", "lisp"),
    ("lua", "lua"),
    ("makefile", "mk"),
    ("markdown", "md"),
    ("matlab", "m"),
    ("nim", "nim"),
    ("nix", "nix"),
    ("objective-c", "m"),
    ("ocaml", "ml"),
    ("pascal", "pas"),
    ("perl", "pl"),
    ("php", "php"),
    ("powershell", "ps1"),
    ("prolog", "pro"),
    ("protobuf", "proto"),
    ("python", "py"),
    ("r", "r"),
    ("ruby", "rb"),
    ("rust", "rs"),
    ("sass", "sass"),
    ("scala", "scala"),
    ("scheme", "scm"),
    ("scss", "scss"),
    ("shell", "sh"),
    ("sql", "sql"),
    ("svelte", "svelte"),
    ("swift", "swift"),
    ("terraform", "tf"),
    ("toml", "toml"),
    ("tsx", "tsx"),
    ("typescript", "ts"),
    ("vue", "vue"),
    ("xml", "xml"),
    ("yaml", "yaml"),
    ("zig", "zig"),
];

/// The name of a snippet's file. The number in front makes it the only one of its archive, whatever a system takes
/// for equal, and keeps it from being a reserved name; letters and digits of the title follow, at most 60 bytes.
#[must_use]
pub fn file_name(number: u64, title: &Title, language: &Language) -> String {
    let mut name = format!("{number:06}");
    let begins = name.len();
    let mut gap = true;
    for character in title.as_str().chars().flat_map(char::to_lowercase) {
        if !character.is_alphanumeric() {
            gap = true;
            continue;
        }
        let needed = character.len_utf8() + usize::from(gap);
        if name.len() - begins + needed > TITLE {
            break;
        }
        if gap {
            name.push('-');
        }
        name.push(character);
        gap = false;
    }
    let extension =
        EXTENSIONS.iter().find(|known| known.0 == language.as_str()).map_or("txt", |known| known.1);
    format!("{name}.{extension}")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::{EXTENSIONS, file_name};
    use crate::snippets::{Language, Title};

    fn name(title: &str, language: &str) -> String {
        file_name(
            7,
            &Title::try_from(title.to_owned()).unwrap(),
            &Language::try_from(language.to_owned()).unwrap(),
        )
    }

    #[test]
    fn titles_become_names() {
        for (title, language, expected) in [
            ("Read a file by lines", "rust", "000007-read-a-file-by-lines.rs"),
            ("../../etc/passwd", "text", "000007-etc-passwd.txt"),
            ("CON", "c++", "000007-con.cpp"),
            ("a/b\\c:d*e?f\"g<h>i|j", "go", "000007-a-b-c-d-e-f-g-h-i-j.go"),
            ("...", "python", "000007.py"),
            ("\u{202e}gnp.exe \u{1F980}\0\n", "brainfuck", "000007-gnp-exe.txt"),
            ("Grüße, Мир, 世界", "text", "000007-grüße-мир-世界.txt"),
        ] {
            assert_eq!(name(title, language), expected);
        }
        assert_eq!(name(&"é".repeat(200), "text").len(), "000007-".len() + 58 + ".txt".len());
    }

    #[test]
    fn languages_stand_there_once() {
        let languages: HashSet<_> = EXTENSIONS.iter().map(|known| known.0).collect();
        assert_eq!(languages.len(), EXTENSIONS.len());
    }

    proptest! {
        #[test]
        fn every_name_is_sane(title in "\\PC{1,200}|.{1,200}|[a-z./\\\\:]{1,200}") {
            let Ok(title) = Title::try_from(title) else { return Ok(()) };
            let name = file_name(123_456_789, &title, &Language::default());
            prop_assert!(name.len() <= 100 && name.starts_with("123456789"));
            let stem = name.strip_suffix(".txt").expect("an extension");
            prop_assert!(stem.chars().all(|c| c == '-' || c.is_alphanumeric()), "{}", name);
        }
    }
}
