//! What a start makes of volumes that a crash left in every possible state.

use std::os::unix::fs::FileExt;

use super::*;

/// A store with three segments in one volume, closed without being sealed.
async fn three() -> (TempDir, PathBuf, [String; 3]) {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory);
    let mut names = [const { String::new() }; 3];
    for (n, name) in names.iter_mut().enumerate() {
        *name = put(&store, &octets(500, n as u64)).await;
    }
    let path = volume::path(&directory.path().join("volumes"), 1);
    (directory, path, names)
}

async fn names(store: &DiskStore) -> Vec<String> {
    list(store, 100).await.into_iter().map(|(name, _)| name).collect()
}

#[tokio::test]
async fn a_record_cut_anywhere_is_no_segment_and_its_name_is_not_given_again() {
    // Headers at 0, 544 and 1088; the last segment ends at 1620.
    for cut in (1088..1620).step_by(7).chain([1089, 1119, 1120, 1121, 1619]) {
        for cut_off in [true, false] {
            let (directory, path, three) = three().await;
            let file = File::options().write(true).open(&path).unwrap();
            if cut_off {
                file.set_len(cut).unwrap();
            } else {
                // The file has its length, but the pages behind never reached the disk.
                file.write_all_at(&vec![0; usize::try_from(1620 - cut).unwrap()], cut).unwrap();
            }
            let store = open(&directory);
            assert_eq!(names(&store).await, three[..2], "cut at {cut}");
            assert!(matches!(read(&store, &three[2], 0..1).await, Err(StoreError::NotFound(_))));
            for (n, name) in three[..2].iter().enumerate() {
                assert_eq!(read(&store, name, 0..500).await.unwrap(), octets(500, n as u64));
            }
            let new = put(&store, &octets(500, 9)).await;
            assert!(!three.contains(&new), "{new} again");
            drop(store);
            assert_eq!(names(&open(&directory)).await, [&three[..2], &[new]].concat(), "cut at {cut}");
        }
    }
}

#[tokio::test]
async fn a_whole_last_record_is_kept() {
    let (directory, _, three) = three().await;
    for _ in 0..3 {
        let store = open(&directory);
        assert_eq!(names(&store).await, three);
        assert_eq!(read(&store, &three[2], 0..500).await.unwrap(), octets(500, 2));
    }
}

#[tokio::test]
async fn one_damaged_header_does_not_cost_the_records_behind_it() {
    let (directory, path, three) = three().await;
    File::options().write(true).open(&path).unwrap().write_all_at(b"damage", 544).unwrap();
    for _ in 0..2 {
        let store = open(&directory);
        assert_eq!(names(&store).await, [three[0].clone(), three[2].clone()]);
        assert!(matches!(read(&store, &three[1], 0..1).await, Err(StoreError::NotFound(_))));
        assert_eq!(read(&store, &three[2], 0..500).await.unwrap(), octets(500, 2));
    }
}

#[tokio::test]
async fn octets_that_look_like_a_record_are_not_one() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory);
    let header = record::Header {
        kind: record::Kind::Segment,
        state: record::State::Live,
        length: 100,
        checksum: 7,
        created_ms: 1,
    };
    // A segment that holds what would be a header just there, in a record that was torn before its own header.
    let forged = [header.encode(1, 32).to_vec(), vec![1; 400]].concat();
    put(&store, &forged.into()).await;
    drop(store);
    let path = volume::path(&directory.path().join("volumes"), 1);
    File::options().write(true).open(&path).unwrap().write_all_at(&[0; 32], 0).unwrap();
    assert!(names(&open(&directory)).await.is_empty());
}

#[tokio::test]
async fn a_volume_of_a_later_version_is_refused_and_left_alone() {
    let (directory, path, _) = three().await;
    let file = File::options().read(true).write(true).open(&path).unwrap();
    let mut header = [0; 32];
    file.read_exact_at(&mut header, 0).unwrap();
    header[4] = 2;
    let covered = [&header[..28], &1_u64.to_le_bytes(), &0_u32.to_le_bytes()].concat();
    header[28..].copy_from_slice(&crc32c::crc32c(&covered).to_le_bytes());
    file.write_all_at(&header, 0).unwrap();
    let before = fs::read(&path).unwrap();
    let outcome = try_reopen(directory.path(), &small_volumes());
    assert!(matches!(outcome, Err(OpenError::Store(StoreError::Internal(_)))), "{outcome:?}");
    assert!(fs::read(&path).unwrap() == before);
}
