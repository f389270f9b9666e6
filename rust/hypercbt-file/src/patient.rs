//! Reads that are tried again, because the storage of a file may be away for a moment.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;
use std::time::Duration;

use hypercbt_extent::{ByteLen, Extents};

use crate::{FileOffset, LocalFile, ReadAt};

/// About half a minute in all: a share that comes back later than its server's restart is gone.
const PAUSES: [Duration; 9] = [
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
    Duration::from_secs(14),
];

/// A file of this machine whose reads are tried again where they fail: a disk is read for hours, and a mounted share
/// may break off and come back meanwhile.
///
/// A handle may stay broken while the file can be opened anew. What is opened anew counts as the same file where it has
/// the same length, and was last modified at the same time.
pub struct PatientFile {
    open: Box<dyn Fn() -> io::Result<Arc<dyn ReadAt>> + Send + Sync>,
    first: Arc<dyn ReadAt>,
    now: RwLock<Arc<dyn ReadAt>>,
    len: ByteLen,
    modified: Option<i128>,
    sleep: fn(Duration),
}

impl PatientFile {
    /// Opens a regular file for reading, as [`LocalFile::open`] does.
    ///
    /// # Errors
    /// As [`LocalFile::open`], at once.
    pub fn open(path: &Path) -> io::Result<Self> {
        let path = path.to_owned();
        let open = move || Ok(Arc::new(LocalFile::open(&path)?) as Arc<dyn ReadAt>);
        Self::new(Box::new(open), thread::sleep)
    }

    fn new(
        open: Box<dyn Fn() -> io::Result<Arc<dyn ReadAt>> + Send + Sync>,
        sleep: fn(Duration),
    ) -> io::Result<Self> {
        let first = open()?;
        Ok(Self {
            len: first.len()?,
            modified: first.modified()?,
            now: RwLock::new(Arc::clone(&first)),
            open,
            first,
            sleep,
        })
    }

    fn patiently<T>(&self, mut action: impl FnMut(&dyn ReadAt) -> io::Result<T>) -> io::Result<T> {
        let mut done = action(&*self.now());
        for pause in PAUSES {
            match &done {
                Err(error) if may_pass(error) => {}
                _ => break,
            }
            (self.sleep)(pause);
            self.open_anew();
            done = action(&*self.now());
        }
        done
    }

    fn now(&self) -> Arc<dyn ReadAt> {
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Where that fails, the file that is there is good enough to try.
    fn open_anew(&self) {
        let Ok(file) = (self.open)() else { return };
        let is_same = matches!(file.len(), Ok(len) if len == self.len)
            && matches!(file.modified(), Ok(modified) if modified == self.modified);
        if is_same {
            *self.now.write().unwrap_or_else(PoisonError::into_inner) = file;
        }
    }
}

/// That a file is shorter than it was does not pass.
fn may_pass(error: &io::Error) -> bool {
    error.kind() != io::ErrorKind::UnexpectedEof
}

impl ReadAt for PatientFile {
    fn read_exact_at(&self, buf: &mut [u8], at: FileOffset) -> io::Result<()> {
        self.patiently(|file| file.read_exact_at(buf, at))
    }

    fn len(&self) -> io::Result<ByteLen> {
        self.patiently(|file| file.len())
    }

    fn data_extents(&self) -> io::Result<Extents> {
        self.patiently(|file| file.data_extents())
    }

    fn modified(&self) -> io::Result<Option<i128>> {
        self.patiently(|file| file.modified())
    }

    /// The one that was opened first: whoever cannot read from it reads from `self`.
    fn as_file(&self) -> Option<&File> {
        self.first.as_file()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use super::*;

    /// Fails so many reads, of each handle or of all.
    struct Shaky {
        bytes: Vec<u8>,
        modified: i128,
        left: Arc<AtomicUsize>,
        kind: io::ErrorKind,
    }

    impl ReadAt for Shaky {
        fn read_exact_at(&self, buf: &mut [u8], at: FileOffset) -> io::Result<()> {
            let fails = self
                .left
                .fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1));
            if fails.is_ok() {
                return Err(self.kind.into());
            }
            self.bytes.read_exact_at(buf, at)
        }

        fn len(&self) -> io::Result<ByteLen> {
            ReadAt::len(&self.bytes)
        }

        fn modified(&self) -> io::Result<Option<i128>> {
            Ok(Some(self.modified))
        }
    }

    fn shaky(bytes: &[u8], modified: i128, left: &Arc<AtomicUsize>) -> Shaky {
        Shaky {
            bytes: bytes.to_vec(),
            modified,
            left: Arc::clone(left),
            kind: io::ErrorKind::TimedOut,
        }
    }

    /// A file whose handles are made one after the other; the last one is made again and again.
    fn patient(handles: Vec<Shaky>) -> (PatientFile, Arc<AtomicUsize>) {
        let opened = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&opened);
        let handles: Vec<Arc<dyn ReadAt>> = handles
            .into_iter()
            .map(|one| Arc::new(one) as Arc<dyn ReadAt>)
            .collect();
        let open = move || {
            let number = count.fetch_add(1, SeqCst).min(handles.len() - 1);
            Ok(Arc::clone(&handles[number]))
        };
        (PatientFile::new(Box::new(open), |_| ()).unwrap(), opened)
    }

    fn fails(times: usize) -> Arc<AtomicUsize> {
        Arc::new(AtomicUsize::new(times))
    }

    fn read(file: &PatientFile) -> io::Result<[u8; 2]> {
        let mut bytes = [0; 2];
        file.read_exact_at(&mut bytes, FileOffset(1))?;
        Ok(bytes)
    }

    #[test]
    fn a_read_that_fails_is_tried_again_from_its_offset() {
        for times in [0, 1, PAUSES.len()] {
            let left = fails(times);
            let (file, opened) = patient(vec![shaky(b"abcd", 7, &left)]);
            assert_eq!(&read(&file).unwrap(), b"bc");
            assert_eq!(opened.load(SeqCst), 1 + times);
        }
    }

    #[test]
    fn a_handle_that_stays_broken_is_replaced_by_one_of_the_same_file() {
        let (for_ever, never) = (fails(usize::MAX), fails(0));
        let (file, opened) = patient(vec![
            shaky(b"abcd", 7, &for_ever),
            shaky(b"abcd", 7, &never),
        ]);
        assert_eq!(&read(&file).unwrap(), b"bc");
        assert_eq!(&read(&file).unwrap(), b"bc");
        assert_eq!(opened.load(SeqCst), 2, "the new handle stays");
    }

    #[test]
    fn a_handle_of_another_file_is_never_read() {
        for other in [shaky(b"ABCDE", 7, &fails(0)), shaky(b"ABCD", 8, &fails(0))] {
            let broken = fails(usize::MAX);
            let (file, opened) = patient(vec![shaky(b"abcd", 7, &broken), other]);
            assert_eq!(read(&file).unwrap_err().kind(), io::ErrorKind::TimedOut);
            assert_eq!(opened.load(SeqCst), 1 + PAUSES.len());
        }
    }

    #[test]
    fn what_does_not_come_back_is_given_up() {
        let left = fails(PAUSES.len() + 1);
        let (file, _) = patient(vec![shaky(b"abcd", 7, &left)]);
        assert_eq!(read(&file).unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(left.load(SeqCst), 0);
    }

    #[test]
    fn a_file_that_is_shorter_than_it_was_is_not_waited_for() {
        let left = fails(1);
        let short = Shaky {
            kind: io::ErrorKind::UnexpectedEof,
            ..shaky(b"abcd", 7, &left)
        };
        let (file, opened) = patient(vec![short]);
        assert_eq!(
            read(&file).unwrap_err().kind(),
            io::ErrorKind::UnexpectedEof
        );
        assert_eq!(opened.load(SeqCst), 1);
    }

    #[test]
    fn all_waits_together_take_half_a_minute() {
        assert_eq!(PAUSES.iter().sum::<Duration>().as_secs(), 29);
    }

    #[test]
    fn a_file_of_this_machine_is_read_and_can_be_asked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        std::fs::write(&path, b"abcd").unwrap();
        let file = PatientFile::open(&path).unwrap();
        let plain = LocalFile::open(&path).unwrap();
        assert_eq!(&read(&file).unwrap(), b"bc");
        assert_eq!(file.len().unwrap(), ByteLen(4));
        assert_eq!(file.modified().unwrap(), plain.modified().unwrap());
        assert_eq!(file.data_extents().unwrap(), plain.data_extents().unwrap());
        assert!(file.as_file().is_some());
        let missing = PatientFile::open(&folder.path().join("none"));
        assert_eq!(missing.err().unwrap().kind(), io::ErrorKind::NotFound);
    }
}
