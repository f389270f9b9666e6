//! Metadata: every rule of the table and its items broken once, every tolerance used once.

mod common;

use common::good::{ANY, good, reads, refused};
use common::image::{self, Image, Item, guid};
use common::{MIB, TIB, open, refusal};

#[test]
fn a_wrong_metadata_signature_or_count_is_refused() {
    assert_eq!(
        refused(|image| image.metadata_signature = *b"METADATA"),
        "metadata: wrong signature"
    );
    for count in [2048, u16::MAX] {
        let many = refused(|image| image.metadata_count = Some(count));
        assert_eq!(many, format!("metadata: {count} entries are too many"));
    }
}

#[test]
fn each_item_is_there_once_and_of_its_length() {
    for name in [
        image::FILE_PARAMETERS,
        image::DISK_SIZE,
        image::DISK_ID,
        image::LOGICAL,
        image::PHYSICAL,
    ] {
        let missing = refused(|image| image.items.retain(|item| item.guid != guid(name)));
        assert_eq!(
            missing,
            format!("metadata: {} is missing", name.to_lowercase())
        );
        let long = refused(|image| image.item(name).bytes.push(0));
        assert!(
            long.starts_with(&format!("metadata: {} is", name.to_lowercase())),
            "{long}"
        );
        let twice = refused(|image| {
            let item = image.item(name).clone();
            image.items.push(item);
        });
        assert_eq!(
            twice,
            format!("metadata: {} appears twice", name.to_lowercase())
        );
    }
}

#[test]
fn items_may_be_in_any_order_and_unmarked() {
    reads(|image| image.items.reverse());
    reads(|image| image.items.iter_mut().for_each(|item| item.flags = 0));
}

#[test]
fn an_unknown_item_is_ignored_unless_it_is_required() {
    let with = |flags| refused(|image| image.items.push(Item::new(ANY, flags, vec![1; 100])));
    assert_eq!(with(0), "opened");
    assert_eq!(with(1), "opened");
    assert_eq!(with(2), "opened");
    assert_eq!(with(4), format!("metadata: {ANY} is required but unknown"));
    // Present but empty.
    assert_eq!(
        refused(|image| image.items.push(Item::new(ANY, 0, vec![]))),
        "opened"
    );
}

#[test]
fn an_item_of_a_user_is_not_the_item_of_the_same_name() {
    reads(|image| image.items.push(Item::new(image::DISK_SIZE, 1, vec![0; 8])));
    let missing = refused(|image| image.item(image::DISK_SIZE).flags = 1);
    assert!(missing.ends_with("is missing"), "{missing}");
}

#[test]
fn a_file_that_was_never_finished_is_refused_as_such() {
    let marker = "71CC85F0-1B69-4E28-9558-C3BF83AE75D3";
    let unfinished = refused(|image| image.items.push(Item::new(marker, 4, vec![])));
    assert_eq!(unfinished, "metadata: the file was not completely created");
}

#[test]
fn reserved_bits_of_items_are_refused() {
    assert_eq!(
        refused(|image| image.items[0].flags = 12),
        "metadata: reserved bits are set"
    );
    assert_eq!(
        refused(|image| image.items[0].reserved = 1),
        "metadata: reserved bits are set"
    );
    let parameters = [1, 0, 16, 0, 4, 0, 0, 0];
    let reserved = refused(|image| image.item(image::FILE_PARAMETERS).bytes = parameters.to_vec());
    assert_eq!(reserved, "metadata: reserved bits are set");
}

#[test]
fn an_item_lies_in_the_region_behind_the_table_and_on_no_other() {
    let at = |offset, len| {
        refused(|image| {
            let mut item = Item::new(ANY, 0, vec![0; 8]);
            (item.offset, item.len) = (Some(offset), Some(len));
            image.items.push(item);
        })
    };
    assert_eq!(at(512 << 10, 8), "opened");
    for (offset, len) in [
        (0, 8),
        (65535, 8),
        ((1 << 20) - 7, 8),
        (u32::MAX, u32::MAX),
        (8, 0),
        (65536, u32::MAX),
    ] {
        assert_eq!(
            at(offset, len),
            format!("metadata: the place {offset}+{len} is misaligned or not allowed")
        );
    }
    assert_eq!(
        at(65536 + 4, 8),
        "metadata: two structures overlap at file offset 65540"
    );
}

#[test]
fn more_items_of_users_than_1024_are_refused() {
    let with = |count: u16| {
        refused(|image| {
            for number in 0..count {
                let mut item = Item::new(ANY, 1, vec![]);
                item.guid[..2].copy_from_slice(&number.to_le_bytes());
                image.items.push(item);
            }
        })
    };
    assert_eq!(with(1024), "opened");
    assert_eq!(with(1025), "metadata: 1025 entries are too many");
}

#[test]
fn impossible_sizes_are_refused() {
    let number = |name: &str, value: u64, len: usize| {
        refused(|image| image.item(name).bytes[..len].copy_from_slice(&value.to_le_bytes()[..len]))
    };
    for block in [0, 1, 512 << 10, 3 << 20, 512 << 20, u64::from(u32::MAX)] {
        let text = format!("metadata: a block of {block} bytes is not possible");
        assert_eq!(number(image::FILE_PARAMETERS, block, 4), text);
    }
    for sector in [0, 1, 513, 1024, 8192] {
        let text = format!("metadata: a sector of {sector} bytes is not possible");
        assert_eq!(number(image::LOGICAL, sector, 4), text);
        assert_eq!(number(image::PHYSICAL, sector, 4), text);
    }
    for size in [0, 511, 513, 64 * TIB + 512, u64::MAX, u64::MAX - 511] {
        let text = format!("metadata: a disk of {size} bytes is not possible");
        assert_eq!(number(image::DISK_SIZE, size, 8), text);
    }
    // A disk of 512-byte sectors that does not fit 4096-byte ones.
    let odd = refused(|image| {
        image.item(image::DISK_SIZE).bytes = 1536_u64.to_le_bytes().to_vec();
        image.item(image::LOGICAL).bytes = 4096_u32.to_le_bytes().to_vec();
    });
    assert_eq!(odd, "metadata: a disk of 1536 bytes is not possible");
}

#[test]
fn a_differencing_disk_needs_a_locator_that_says_who_its_parent_is() {
    let child = |change: &dyn Fn(&mut Image)| {
        let mut image = Image::differencing(8 * MIB, MIB, 512, [4; 16]);
        change(&mut image);
        refusal(open([image.build(), good().build()]))
    };
    assert_eq!(child(&|_| ()), "opened");
    let missing = child(&|image| image.items.retain(|item| item.guid != guid(image::LOCATOR)));
    assert_eq!(
        missing,
        format!("metadata: {} is missing", image::LOCATOR.to_lowercase())
    );
    let other = child(&|image| image.item(image::LOCATOR).bytes[0] ^= 1);
    assert!(other.starts_with("parent locator: unknown type"), "{other}");
    let unlinked = "parent locator: no usable parent linkage";
    assert_eq!(
        child(&|image| image.set_locator(&[("relative_path", "x")])),
        unlinked
    );
    assert_eq!(
        child(&|image| image.set_locator(&[("parent_linkage", "x")])),
        unlinked
    );
    assert_eq!(
        child(&|image| image.set_locator(&[("Parent_Linkage", ANY)])),
        unlinked
    );
    let bad_second = [("parent_linkage", ANY), ("parent_linkage2", "x")];
    assert_eq!(child(&|image| image.set_locator(&bad_second)), unlinked);
    let twice = [("parent_linkage", ANY), ("parent_linkage", ANY)];
    assert_eq!(
        child(&|image| image.set_locator(&twice)),
        "parent locator: entry 1 repeats a key"
    );
    for empty in [("", "x"), ("x", "")] {
        assert_eq!(
            child(&|image| image.set_locator(&[empty])),
            "parent locator: entry 0 is malformed"
        );
    }
    let count = |count: u16| {
        move |image: &mut Image| {
            image.item(image::LOCATOR).bytes[18..20].copy_from_slice(&count.to_le_bytes());
        }
    };
    assert_eq!(
        child(&count(257)),
        "parent locator: 257 entries are too many"
    );
    assert!(child(&count(256)).starts_with("parent locator: "));
    let short = child(&|image| image.item(image::LOCATOR).bytes.truncate(19));
    assert_eq!(short, "parent locator: 19 bytes are too few, 20 are needed");
    for (byte, value) in [
        (23, 0xFF),
        (27, 0xFF),
        (28, 27),
        (29, 0xFF),
        (30, 75),
        (31, 0xFF),
    ] {
        let malformed = child(&|image| image.item(image::LOCATOR).bytes[byte] = value);
        assert_eq!(malformed, "parent locator: entry 0 is malformed", "{byte}");
    }
    // Half of a surrogate pair.
    let malformed = child(&|image| {
        let bytes = &mut image.item(image::LOCATOR).bytes;
        let at = u32::from_le_bytes(bytes[20..24].try_into().unwrap()) as usize;
        bytes[at..at + 2].copy_from_slice(&[0, 0xD8]);
    });
    assert_eq!(malformed, "parent locator: entry 0 is malformed");
}

#[test]
fn a_locator_without_a_parent_is_ignored() {
    reads(|image| {
        image
            .items
            .push(Item::new(image::LOCATOR, 4, vec![1, 2, 3]));
    });
}
