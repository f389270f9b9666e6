//! A restore point of any bytes: as it stands, and sealed with right checksums as a forger would.

#![no_main]

use std::sync::{Arc, LazyLock};

use hypercbt_repo::{
    CreateOptions, MemoryStorage, ObjectKind, Repository, RepositoryId, RunId, Storage, Timestamp,
    seal_object,
};
use libfuzzer_sys::fuzz_target;

const POINT: RunId = RunId([7; 16]);

static REPOSITORY: LazyLock<(MemoryStorage, Repository)> = LazyLock::new(|| {
    let storage = MemoryStorage::new();
    let options = CreateOptions {
        chunk_bytes: 64 << 10,
        id: RepositoryId([1; 16]),
        created: Timestamp(0),
    };
    let shared: Arc<dyn Storage> = Arc::new(storage.clone());
    let repository =
        Repository::create(shared, "memory", &options).expect("memory holds a repository");
    (storage, repository)
});

fuzz_target!(|data: &[u8]| {
    let (storage, repository) = &*REPOSITORY;
    let name = format!("point/{POINT}");
    let sealed = seal_object(&name, ObjectKind::Point, data).expect("a fuzz input is short");
    for object in [data, &sealed] {
        storage.delete(&name).expect("memory forgets");
        storage
            .create_exclusive(&name, object)
            .expect("the name is free");
        let (points, damaged) = repository.points_with_damage().expect("memory can be read");
        assert_eq!(points.len() + damaged.len(), 1);
        assert_eq!(repository.point(POINT).is_ok(), points.len() == 1);
    }
});
