//! Many threads at once.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use hypercbt_extent::{ByteLen, DiskOffset};
use hypercbt_file::{DiskFile, Entry, FileSystem};
use hypercbt_powercut::SimFiles;
use hypercbt_vhdx::{FileOffset, OpenOptions, Opening, ReadAt};

use crate::common::{KIB, MIB};
use crate::support::{Disk, KINDS, Kind, PATH, begin, content, extent, guids, read_only, write};

/// Each thread has stripes of its own in blocks that all share, and looks at them all the time.
#[test]
fn threads_that_share_blocks_do_not_harm_each_other() {
    const THREADS: u64 = 6;
    const STRIPE: u64 = 16 * KIB;
    for kind in KINDS {
        let (files, mut model) = Disk::small(kind, 512).build();
        let disk = begin(&files, 1);
        let starts = |thread: u64| {
            let places = (0..3 * MIB + 512 * KIB).step_by((THREADS * STRIPE) as usize);
            places
                .map(move |at| at + thread * STRIPE)
                .filter(|at| at + STRIPE <= 3 * MIB + 512 * KIB)
        };
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let disk = &disk;
                scope.spawn(move || {
                    for round in 0..4_u8 {
                        let mark = 1 + round * THREADS as u8 + thread as u8;
                        for at in starts(thread) {
                            write(disk, at, &vec![mark; STRIPE as usize]);
                            if round == 2 {
                                disk.zero(extent(at, STRIPE)).unwrap();
                            }
                            let mut found = vec![0xA5; STRIPE as usize];
                            disk.read_at(DiskOffset(at), &mut found).unwrap();
                            let expected = if round == 2 { 0 } else { mark };
                            assert!(found.iter().all(|byte| *byte == expected));
                        }
                        disk.flush().unwrap();
                    }
                });
            }
        });
        for thread in 0..THREADS {
            for at in starts(thread) {
                let mark = 1 + 3 * THREADS as u8 + thread as u8;
                model[at as usize..][..STRIPE as usize].fill(mark);
            }
        }
        assert!(content(&disk) == model, "{kind:?}");
        drop(disk);
        assert!(read_only(&files).unwrap() == model, "{kind:?}");
    }
}

/// Blocks are given up and written again by some while others write to their neighbours, which take the room.
#[test]
fn blocks_that_come_and_go_never_show_each_other() {
    for kind in [Kind::Dynamic, Kind::Child] {
        let (files, _) = Disk::small(kind, 512).build();
        let disk = begin(&files, 1);
        std::thread::scope(|scope| {
            for block in 0..3 {
                let disk = &disk;
                scope.spawn(move || {
                    let at = block * MIB;
                    for round in 0..24_u8 {
                        let mark = 1 + round * 3 + block as u8;
                        write(disk, at + 4096, &[mark; 4096]);
                        write(disk, at + 512 * KIB, &[mark; 4096]);
                        let mut found = vec![0xA5; 1 << 20];
                        disk.read_at(DiskOffset(at), &mut found).unwrap();
                        let own = |byte: u8| byte == mark || byte == 0 || byte >= 0x50;
                        assert!(found.iter().all(|byte| own(*byte)), "{kind:?}");
                        assert_eq!(found[4096..8192], [mark; 4096]);
                        if round % 2 == 0 {
                            disk.zero(extent(at, MIB)).unwrap();
                        }
                        if round % 3 == 0 {
                            disk.flush().unwrap();
                        }
                    }
                });
            }
        });
    }
}

/// Syncs wait at a gate while it is shut.
#[derive(Debug, Default)]
struct Gate {
    is_shut: Mutex<bool>,
    changed: Condvar,
    waiting: AtomicUsize,
}

impl Gate {
    fn shut(&self, shut: bool) {
        *self.is_shut.lock().unwrap() = shut;
        self.changed.notify_all();
    }

    fn pass(&self) {
        let mut shut = self.is_shut.lock().unwrap();
        self.waiting.fetch_add(1, Ordering::SeqCst);
        while *shut {
            shut = self.changed.wait(shut).unwrap();
        }
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

#[derive(Debug)]
struct Gated<T> {
    inner: T,
    gate: Arc<Gate>,
}

impl ReadAt for Gated<Arc<dyn DiskFile>> {
    fn read_exact_at(&self, buf: &mut [u8], at: FileOffset) -> io::Result<()> {
        self.inner.read_exact_at(buf, at)
    }

    fn len(&self) -> io::Result<ByteLen> {
        self.inner.len()
    }
}

impl DiskFile for Gated<Arc<dyn DiskFile>> {
    fn write_all_at(&self, bytes: &[u8], at: FileOffset) -> io::Result<()> {
        self.inner.write_all_at(bytes, at)
    }

    fn set_len(&self, len: ByteLen) -> io::Result<()> {
        self.inner.set_len(len)
    }

    /// What is written while the gate is shut is written after the sync began: it is not part of it.
    fn sync(&self) -> io::Result<()> {
        self.inner.sync()?;
        self.gate.pass();
        Ok(())
    }
}

impl FileSystem for Gated<SimFiles> {
    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.inner.create_new(path)
    }

    fn open_to_write(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let (inner, gate) = (self.inner.open_to_write(path)?, Arc::clone(&self.gate));
        Ok(Arc::new(Gated { inner, gate }))
    }

    fn open_to_read(&self, path: &Path) -> io::Result<Arc<dyn ReadAt>> {
        self.inner.open_to_read(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.link(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.inner.remove(path)
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        self.inner.create_folder(path)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.inner.sync_folder(path)
    }

    fn entry(&self, path: &Path) -> io::Result<Entry> {
        self.inner.entry(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        self.inner.list(path)
    }
}

/// Waits without a clock for what another thread will do.
fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        std::thread::yield_now();
    }
}

#[test]
fn a_flush_that_meets_the_sync_of_another_still_covers_its_own_writes() {
    for kind in KINDS {
        let (files, _) = Disk::small(kind, 512).build();
        let gate = Arc::new(Gate::default());
        let gated = Gated {
            inner: files.clone(),
            gate: Arc::clone(&gate),
        };
        let opening = Opening::new(Arc::new(gated), Path::new(PATH), &OpenOptions::default());
        let disk = opening.unwrap().begin(&guids(1)).unwrap();
        write(&disk, 0, &[7; 512]);
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            gate.shut(true);
            scope.spawn(|| disk.flush().unwrap());
            until(|| gate.waiting.load(Ordering::SeqCst) == 1);
            // The first flush has synced its payload, but not returned.
            write(&disk, MIB, &[8; 512]);
            write(&disk, 512, &[9; 512]);
            let late: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        disk.flush().unwrap();
                        assert!(done.load(Ordering::SeqCst), "before the gate was opened");
                    })
                })
                .collect();
            done.store(true, Ordering::SeqCst);
            gate.shut(false);
            for thread in late {
                thread.join().unwrap();
            }
            let cut = SimFiles::from_state(&files.history().extremes(files.ops())[0]);
            let found = read_only(&cut).unwrap();
            assert_eq!(found[..512], [7; 512]);
            assert_eq!(found[512..1024], [9; 512]);
            assert_eq!(found[1 << 20..][..512], [8; 512]);
        });
    }
}
