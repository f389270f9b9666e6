//! Differencing legacy VHD files and their parents.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests are tests too"
)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::image::Image;
use common::sparse::SparseFile;
use common::vhd::{VhdImage, fixed, utf16};
use common::{MIB, open, read, refusal};
use hypercbt_vhdx::{
    Error, FileIndex, Guid, Kind, Mismatch, OpenOptions, Part, Reason, Unsupported, VirtualDisk,
};

const SIZE: u64 = 4 * MIB;
const PARENT: [u8; 16] = [0xD1; 16];

/// A dynamic disk that begins with `payload`.
fn parent(payload: &[u8]) -> VhdImage {
    let mut image = VhdImage::dynamic(SIZE, 2 * MIB);
    image.full(0, 7, payload);
    image
}

/// Its child, with nothing of its own.
fn child() -> VhdImage {
    VhdImage::differencing(SIZE, 2 * MIB, PARENT, "parent.vhd")
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn save(&self, name: &str, file: &SparseFile) -> PathBuf {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let len = usize::try_from(file.bytes()).unwrap();
        fs::write(&path, file.read(0, len)).unwrap();
        path
    }
}

fn plain(path: &Path) -> hypercbt_vhdx::Result<VirtualDisk> {
    VirtualDisk::open(path, &OpenOptions::default())
}

fn first_byte(disk: &hypercbt_vhdx::Result<VirtualDisk>) -> u8 {
    read(disk.as_ref().unwrap(), 0, 1)[0]
}

#[test]
fn a_clear_bit_and_an_absent_block_are_the_parents() {
    let mut below = parent(&[1; 8 * 512]);
    below.full(1, 8 + below.span(), &[2; 512]);
    let mut above = child();
    above.block(0, 159, &[0b0101_0000], &[9; 8 * 512]);
    let disk = open([above.build(), below.build()]).unwrap();
    let bytes: Vec<u8> = (0..8)
        .map(|sector| read(&disk, sector * 512, 1)[0])
        .collect();
    assert_eq!(bytes, [1, 9, 1, 9, 1, 1, 1, 1]);
    assert_eq!(read(&disk, 2 * MIB, 512), [2; 512]);
    assert_eq!(disk.layers()[0].kind, Kind::Differencing);
    assert_eq!(disk.layers()[0].partial_blocks, 1);
    // Both can be read by whoever runs the plan.
    assert_eq!(disk.layers().len(), 2);
    let mut buf = [0; 1];
    let at = hypercbt_vhdx::FileOffset(below.data_at(7));
    disk.read_file(FileIndex(1), at, &mut buf).unwrap();
    assert_eq!(buf, [1]);
}

#[test]
fn a_chain_of_three_over_a_fixed_disk_reads_through_all_of_them() {
    let base = fixed(&vec![1; 4 << 20], |footer| footer.id = PARENT);
    let mut middle = child();
    middle.block(0, 159, &[0b0110_0000], &[2; 8 * 512]);
    middle.footer.id = [0xC2; 16];
    // Blocks of another size, and as large.
    let mut top = VhdImage::differencing(SIZE, MIB, [0xC2; 16], "middle.avhd");
    top.block(0, 159, &[0b0011_0000], &[3; 8 * 512]);
    let disk = open([top.build(), middle.build(), base]).unwrap();
    let bytes: Vec<u8> = (0..5)
        .map(|sector| read(&disk, sector * 512, 1)[0])
        .collect();
    assert_eq!(bytes, [1, 2, 3, 3, 1]);
    // Each file has an id of its own; the last parent's stays as checkpoints come and go.
    assert_eq!(disk.disk_id(), Some(Guid(PARENT)));
    assert_eq!(disk.layers()[0].disk_id, Some(Guid([0xC1; 16])));
}

#[test]
fn a_parent_is_found_beside_its_child_by_any_of_the_three_names() {
    let folder = Folder::new();
    folder.save("parent.vhd", &parent(b"P").build());
    let mut relative = child();
    relative.locators.remove(0);
    relative.parent_name.clear();
    let mut absolute = child();
    absolute.locators.remove(1);
    absolute.parent_name.clear();
    let mut name = child();
    name.locators.clear();
    let mut foreign = name.clone();
    foreign.locator(*b"MacX", 4096, b"file:///vm/other.vhd");
    let mut nul = relative.clone();
    nul.locators[0].text = utf16(".\\parent.vhd\0\0");
    nul.locators[0].len = 28;
    for (number, image) in [child(), relative, absolute, name, foreign, nul]
        .iter()
        .enumerate()
    {
        let leaf = folder.save(&format!("child{number}.avhd"), &image.build());
        assert_eq!(first_byte(&plain(&leaf)), b'P', "{number}");
    }
}

#[test]
fn a_name_in_another_script_is_found() {
    let folder = Folder::new();
    let name = "Grüße 磁盘.vhd";
    folder.save(name, &parent(b"P").build());
    let leaf = VhdImage::differencing(SIZE, 2 * MIB, PARENT, name);
    let leaf = folder.save("child.vhd", &leaf.build());
    assert_eq!(first_byte(&plain(&leaf)), b'P');
}

#[test]
fn a_parent_in_another_folder_must_be_allowed() {
    let folder = Folder::new();
    let path = folder.save("elsewhere/parent.vhd", &parent(b"P").build());
    let mut image = child();
    image.locators[1].text = utf16("..\\elsewhere\\parent.vhd");
    image.locators[1].len = 46;
    let leaf = folder.save("vm/child.vhd", &image.build());
    assert!(matches!(plain(&leaf), Err(Error::ParentNotFound { .. })));
    let folders = OpenOptions {
        parent_folders: vec![path.parent().unwrap().to_owned()],
        ..OpenOptions::default()
    };
    assert_eq!(first_byte(&VirtualDisk::open(&leaf, &folders)), b'P');
    let renamed = folder.save("elsewhere/renamed.vhd", &parent(b"P").build());
    let named = OpenOptions {
        parents: vec![renamed],
        ..OpenOptions::default()
    };
    assert_eq!(first_byte(&VirtualDisk::open(&leaf, &named)), b'P');
}

#[test]
fn a_parent_with_another_unique_id_is_refused() {
    let folder = Folder::new();
    let mut other = parent(b"P");
    other.footer.id = [7; 16];
    folder.save("parent.vhd", &other.build());
    let leaf = folder.save("child.vhd", &child().build());
    let expected = Mismatch::Linkage {
        wanted: Guid(PARENT),
        found: Guid([7; 16]),
    };
    for result in [plain(&leaf), open([child().build(), other.build()])] {
        assert!(
            matches!(result, Err(Error::WrongParent { mismatch, .. }) if mismatch == expected),
            "{result:?}"
        );
    }
}

#[test]
fn a_parent_of_another_size_is_refused() {
    let mut larger = VhdImage::dynamic(SIZE + 512, 2 * MIB);
    larger.full(0, 7, b"P");
    let result = open([child().build(), larger.build()]);
    assert!(
        matches!(
            result,
            Err(Error::WrongParent {
                mismatch: Mismatch::Size { child, parent },
                ..
            }) if (child.0, parent.0) == (SIZE, SIZE + 512)
        ),
        "{result:?}"
    );
}

#[test]
fn a_parent_in_another_format_is_refused() {
    let folder = Folder::new();
    let mut vhdx = Image::dynamic(SIZE, MIB, 512);
    vhdx.block(0, 6, 4 * MIB, b"P");
    folder.save("parent.vhd", &vhdx.build());
    let leaf = folder.save("child.vhd", &child().build());
    let format = |result| {
        matches!(
            result,
            Err(Error::WrongParent {
                mismatch: Mismatch::Format,
                ..
            })
        )
    };
    assert!(format(plain(&leaf)));
    let mut raw = SparseFile::default();
    raw.set_len(SIZE);
    folder.save("parent.vhd", &raw);
    assert!(format(plain(&leaf)));
    // The other way round: a VHDX child over a VHD parent.
    let mut vhdx = Image::differencing(SIZE, MIB, 512, PARENT);
    vhdx.bitmap(0, 4 * MIB, []);
    assert!(format(open([vhdx.build(), parent(b"P").build()])));
}

#[test]
fn a_fixed_parent_is_a_vhd_whatever_its_guest_wrote_at_its_start() {
    let folder = Folder::new();
    let mut payload = vec![0; 4 << 20];
    payload[..8].copy_from_slice(b"vhdxfile");
    let base = fixed(&payload, |footer| footer.id = PARENT);
    folder.save("parent.vhd", &base);
    let leaf = folder.save("child.avhd", &child().build());
    for disk in [plain(&leaf), open([child().build(), base])] {
        assert_eq!(first_byte(&disk), b'v');
    }
}

#[test]
fn a_cycle_and_a_missing_parent_are_refused() {
    let folder = Folder::new();
    let leaf = folder.save("child.vhd", &child().build());
    let Err(Error::ParentNotFound { tried, .. }) = plain(&leaf) else {
        panic!("it has no parent");
    };
    assert_eq!(tried, [leaf.with_file_name("parent.vhd")]);
    let mut own = child();
    own.parent_id = own.footer.id;
    own.footer.id = PARENT;
    own.parent_id = PARENT;
    folder.save("parent.vhd", &own.build());
    let own = folder.0.path().join("parent.vhd");
    assert!(matches!(plain(&own), Err(Error::ParentCycle { .. })));
    assert!(matches!(plain(&leaf), Err(Error::ParentCycle { .. })));
}

#[test]
fn a_damaged_parent_is_named() {
    let folder = Folder::new();
    let mut damaged = parent(b"P");
    damaged.footer.checksum_error = 1;
    let path = folder.save("parent.vhd", &damaged.build());
    let leaf = folder.save("child.vhd", &child().build());
    match plain(&leaf) {
        Err(Error::Corrupt { file, part, .. }) => {
            assert_eq!((file, part), (path, Part::Footer));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn locators_that_break_a_rule_are_refused() {
    let refused = |change: fn(&mut VhdImage)| {
        let mut image = child();
        image.footer_at = Some(64 << 10);
        change(&mut image);
        refusal(open([image.build(), parent(b"P").build()]))
    };
    assert_eq!(refused(|_| ()), "opened");
    let linkage = "parent locator: no usable parent linkage";
    assert_eq!(refused(|image| image.parent_id = [0; 16]), linkage);
    let malformed = "parent locator: entry 1 is malformed";
    assert_eq!(refused(|image| image.locators[1].len = 7), malformed);
    assert_eq!(refused(|image| image.locators[1].len = 65_536), malformed);
    let lone = "parent locator: entry 0 is malformed";
    assert_eq!(
        refused(|image| image.locators[0].text[..2].fill(0xDC)),
        lone
    );
    let place = |at: u64| format!("parent locator: the place {at}+24 is misaligned or not allowed");
    for at in [(64 << 10) - 23, u64::MAX - 5] {
        let mut image = child();
        image.footer_at = Some(64 << 10);
        image.locators[1].at = at;
        image.locators[1].text.clear();
        let result = refusal(open([image.build(), parent(b"P").build()]));
        assert_eq!(result, place(at));
    }
}

#[test]
fn a_block_on_a_locator_is_refused() {
    let mut image = child();
    image.block(0, 8, &[0xFF; 512], b"own");
    let result = refusal(open([image.build(), parent(b"P").build()]));
    assert!(result.contains("overlap"), "{result}");
}

#[test]
fn the_name_of_a_file_says_which_of_two_formats_it_is() {
    let folder = Folder::new();
    // A guest that writes the signature of a VHDX to the start of its fixed VHD makes no VHDX of it.
    let mut payload = vec![0; 4096];
    payload[..8].copy_from_slice(b"vhdxfile");
    let path = folder.save("disk.vhd", &fixed(&payload, |_| ()));
    assert_eq!(plain(&path).unwrap().format().as_str(), "vhd");
    let vhdx = folder.save("other.VHD", &Image::dynamic(SIZE, MIB, 512).build());
    assert!(matches!(
        plain(&vhdx),
        Err(Error::UnsupportedFormat {
            format: Unsupported::Vhdx,
            ..
        })
    ));
    let vhd = folder.save("disk.avhdx", &parent(b"P").build());
    assert!(matches!(
        plain(&vhd),
        Err(Error::UnsupportedFormat {
            format: Unsupported::Vhd,
            ..
        })
    ));
    let mut raw = SparseFile::default();
    raw.set_len(SIZE);
    for name in ["raw.vhd", "raw.AVHD"] {
        let raw = folder.save(name, &raw);
        assert!(matches!(
            plain(&raw),
            Err(Error::Corrupt {
                part: Part::Footer,
                reason: Reason::Signature,
                ..
            })
        ));
        assert_eq!(VirtualDisk::open_raw(&raw).unwrap().size().0, SIZE);
    }
    let unnamed = folder.save("disk", &parent(b"P").build());
    assert_eq!(first_byte(&plain(&unnamed)), b'P');
    let options = OpenOptions::default();
    assert_eq!(first_byte(&VirtualDisk::open_vhd(&vhd, &options)), b'P');
}
