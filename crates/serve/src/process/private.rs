//! Mail, password hashes and keys are their owner's business alone.

use std::{
    fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

use rustix::fs::Mode;

/// What the services make in a data directory.
const OURS: [&str; 3] = ["metadata", "blob", "tls"];
/// What the group and the others may do.
const OTHERS: u32 = 0o077;

/// Whatever umask a shell or a service manager left: it goes for the whole process, so also for what the stores'
/// libraries make.
pub(super) fn make_private() {
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
}

/// Shuts others out of what an earlier start, an unpacked backup or a careless copy left open. The folders that the
/// services made are closed; the data directory itself only where there is nothing else in it, since it may be
/// somebody's home, and where it is ours, since it may be a mounted volume.
pub(super) fn keep_private(data_dir: &Path) {
    for folder in OURS.map(|name| data_dir.join(name)) {
        if let Err(error) = close(&folder) {
            tracing::warn!(folder = %folder.display(), %error, "others may read this folder, and it cannot be closed");
        }
    }
    let closed = match is_for_us_alone(data_dir) {
        Ok(true) => close(data_dir),
        Ok(false) => Ok(()),
        Err(error) => Err(error),
    };
    if let Err(error) = closed {
        tracing::debug!(folder = %data_dir.display(), %error, "the data directory stays as it is");
    }
}

/// Takes from group and others all that they may do with a folder, if it is there.
fn close(folder: &Path) -> io::Result<()> {
    let permissions = match fs::metadata(folder) {
        Ok(metadata) => metadata.permissions(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let mode = permissions.mode() & 0o7777;
    if mode & OTHERS == 0 {
        return Ok(());
    }
    fs::set_permissions(folder, fs::Permissions::from_mode(mode & !OTHERS))?;
    let was = format_args!("{mode:04o}");
    tracing::warn!(folder = %folder.display(), was = %was, "others could look into this folder: it is closed now");
    Ok(())
}

/// Says whether a folder is this user's and holds nothing but what the services make.
fn is_for_us_alone(folder: &Path) -> io::Result<bool> {
    let is_ours = fs::metadata(folder)?.uid() == rustix::process::geteuid().as_raw();
    let mut foreign = fs::read_dir(folder)?.filter(|entry| match entry {
        Ok(entry) => !OURS.iter().any(|name| entry.file_name() == *name),
        Err(_) => true,
    });
    Ok(is_ours && foreign.next().is_none())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn make(folder: &Path, mode: u32) -> PathBuf {
        fs::create_dir(folder).unwrap();
        fs::set_permissions(folder, fs::Permissions::from_mode(mode)).unwrap();
        folder.to_owned()
    }

    fn mode(folder: &Path) -> u32 {
        fs::metadata(folder).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_data_directory_is_closed_with_all_that_is_in_it() {
        let outer = tempfile::tempdir().unwrap();
        let data = make(&outer.path().join("data"), 0o2755);
        let inside = OURS.map(|name| make(&data.join(name), 0o750));
        keep_private(&data);
        assert_eq!(mode(&data), 0o2700, "other bits are left alone");
        for folder in inside {
            assert_eq!(mode(&folder), 0o700, "{}", folder.display());
        }
    }

    #[test]
    fn one_that_is_empty_is_meant_for_us() {
        let outer = tempfile::tempdir().unwrap();
        let data = make(&outer.path().join("data"), 0o777);
        keep_private(&data);
        assert_eq!(mode(&data), 0o700);
    }

    #[test]
    fn a_folder_with_other_things_in_it_stays_open_around_what_is_ours() {
        let outer = tempfile::tempdir().unwrap();
        let home = make(&outer.path().join("home"), 0o755);
        let (ours, theirs) = (make(&home.join("blob"), 0o755), make(&home.join("public"), 0o755));
        keep_private(&home);
        assert_eq!((mode(&home), mode(&ours), mode(&theirs)), (0o755, 0o700, 0o755));
    }

    #[test]
    fn one_that_is_not_there_is_not_made() {
        let outer = tempfile::tempdir().unwrap();
        keep_private(&outer.path().join("data"));
        assert_eq!(fs::read_dir(outer.path()).unwrap().count(), 0);
    }
}
