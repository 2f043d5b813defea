//! An export that is to be imported: complete, and each file of records checked before anything of it is believed.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use crate::{
    commands::export::layout::{FILES, FileLine, MANIFEST, Manifest, Records, manifest, summed},
    exit::Fault,
};

/// A complete export.
pub(super) struct Export {
    pub(super) folder: PathBuf,
    pub(super) manifest: Manifest,
    files: HashMap<String, FileLine>,
}

impl Export {
    /// Reads the manifest and the list of files.
    pub(super) fn open(folder: &Path) -> Result<Self, Fault> {
        let shown = folder.display();
        let Some(manifest) = manifest(folder)? else {
            let text = format!("{shown} is no export: there is no {MANIFEST} in it");
            return Err(Fault::Refused(text));
        };
        if !manifest.complete {
            let text = format!("the export in {shown} is not complete: run `puro export {shown}` again");
            return Err(Fault::Refused(text));
        }
        let path = folder.join(FILES);
        let (_, blake3) = summed(&path)?;
        if blake3 != manifest.files_blake3 {
            return Err(damaged(&path));
        }
        let lines = Records::<FileLine>::open(&path)?;
        let files = lines.map(|line| line.map(|line| (line.path.clone(), line))).collect::<Result<_, _>>()?;
        Ok(Self { folder: folder.to_owned(), manifest, files })
    }

    /// Checks a file of records and returns where it is; `None` where the export has none such.
    pub(super) fn file(&self, name: &str) -> Result<Option<PathBuf>, Fault> {
        let Some(line) = self.files.get(name) else { return Ok(None) };
        let path = self.folder.join(name);
        let (bytes, blake3) = summed(&path)?;
        if (bytes, &blake3) == (line.bytes, &line.blake3) { Ok(Some(path)) } else { Err(damaged(&path)) }
    }
}

fn damaged(path: &Path) -> Fault {
    Fault::Refused(format!("{}: damaged, its checksum is not the one noted", path.display()))
}
