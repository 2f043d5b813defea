//! Plays every dialogue of `tests/transcripts`: whole, octet by octet, and cut at random.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panic")]

mod dialogue;

use std::{fs, path::Path};

use dialogue::{Pieces, Script, play};

#[test]
fn every_transcript_in_any_pieces() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 40, "dialogues are missing");
    let mut faults = Vec::new();
    for file in files {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains("# RFC "), "{name} cites no rule");
        let script = Script::parse(&text);
        let random = (0..20).map(Pieces::Random);
        let cuts = [Pieces::Whole]
            .into_iter()
            .chain([Pieces::Single].into_iter().chain(random).filter(|_| !script.whole_only));
        for pieces in cuts {
            if let Err(fault) = play(&script, pieces) {
                faults.push(format!("{name} ({pieces:?}):\n{fault}"));
                break;
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n\n"));
}
