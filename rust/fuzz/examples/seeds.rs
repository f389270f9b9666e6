//! Writes the seeds of the VHDX and VHD targets: `cargo run --example seeds` in this folder.
//!
//! Each is a small file that opens, and together they use every structure of the format.

use std::fs;
use std::path::Path;

use hypercbt_fuzz::common::image::{Image, Item, Payload, Region, guid};
use hypercbt_fuzz::common::log::{Change, LogEntry};
use hypercbt_fuzz::common::sparse::SparseFile;
use hypercbt_fuzz::common::vhd::{VhdImage, fixed};
use hypercbt_fuzz::common::{GIB, MIB, TIB, open};
use hypercbt_fuzz::vhd;
use hypercbt_fuzz::vhdx::{decode, encode, fix_checksums};

const LOG: [u8; 16] = [0x10; 16];

fn dynamic() -> Image {
    let mut image = Image::dynamic(6 * MIB, MIB, 512);
    image.block(0, 6, 6 * MIB, b"first");
    image.block(1, 6, 7 * MIB, b"second");
    image.block(3, 6, 5 * MIB, b"fourth");
    image.entry(4, 2);
    image.entry(5, 9 * MIB | 3);
    image
}

fn fixed_4096() -> Image {
    let mut image = Image::dynamic(33 * GIB, 256 * MIB, 4096);
    image
        .item(hypercbt_fuzz::common::image::FILE_PARAMETERS)
        .bytes[4] = 1;
    image.block(127, 6, GIB, b"before the border");
    image.block(128, 6, 2 * GIB, b"behind it");
    image
}

fn largest() -> Image {
    let mut image = Image::dynamic(64 * TIB, MIB, 512);
    image.block((1 << 26) - 1, 6, 200 * TIB, b"the end");
    image
}

fn differencing() -> Image {
    let mut image = Image::differencing(8 * MIB, 2 * MIB, 512, [4; 16]);
    image.bitmap(0, 4 * MIB, [1, 7, 8, 100, 4096 + 5, 3 * 4096]);
    image.block(0, 7, 6 * MIB, &[b'C'; 600]);
    image.block(1, 7, 8 * MIB, b"child");
    image.entry(2, 2);
    image.block(3, 6, 10 * MIB, b"whole");
    image
}

fn unknown_parts() -> Image {
    let mut image = dynamic();
    let name = "11111111-2222-3333-4444-555555555555";
    let region = Region {
        guid: guid(name),
        at: 20 * MIB,
        len: 1 << 20,
        flags: 0,
    };
    image.each_region(|regions| regions.push(region.clone()));
    image.items.push(Item::new(name, 1, b"of a user".to_vec()));
    image.items.push(Item::new(name, 2, vec![]));
    image.len = Some(21 * MIB);
    image
}

fn dirty() -> Image {
    let mut image = dynamic();
    image.each_header(|header| header.log_guid = LOG);
    let mut sector = (8 * MIB | 6).to_le_bytes().to_vec();
    sector.resize(4096, 0);
    let first = Change::Data {
        at: 3 * MIB,
        bytes: sector.clone(),
    };
    let zero = Change::Zero {
        at: 12 * MIB,
        len: 8192,
    };
    let mut head = LogEntry::new(LOG, 8, 254, vec![zero, first.clone()]);
    head.last = 13 * MIB;
    image.log = vec![
        (254, LogEntry::new(LOG, 6, 254, vec![first.clone()])),
        (0, LogEntry::new(LOG, 7, 254, vec![])),
        (1, head),
        (3, LogEntry::new(LOG, 3, 3, vec![first])),
    ];
    image.payload.push(Payload {
        at: 8 * MIB,
        bytes: b"moved".to_vec(),
    });
    image
}

fn many_descriptors() -> Image {
    let mut image = dirty();
    let changes = (0..130)
        .map(|number| Change::Zero {
            at: (20 + number % 4) * MIB,
            len: 4096,
        })
        .collect();
    image.log = vec![(100, LogEntry::new(LOG, 9, 100, changes))];
    image
}

fn short_tail() -> SparseFile {
    let mut image = Image::dynamic(MIB + 512, MIB, 512);
    image.block(1, 6, 4 * MIB, &[7; 512]);
    let mut file = image.build();
    file.set_len(4 * MIB + 700);
    file
}

fn raw() -> SparseFile {
    let mut file = SparseFile::default();
    file.set_len(MIB);
    file.write(5000, b"raw");
    file
}

fn vhd_dynamic() -> VhdImage {
    let mut image = VhdImage::dynamic(MIB, 64 << 10);
    image.full(0, 15, b"first");
    image.block(3, 15 + 2 * image.span(), &[0x5A, 0xF0, 0, 1], &[7; 600]);
    image
}

fn vhd_child() -> VhdImage {
    let mut image = VhdImage::differencing(MIB, 512 << 10, [0xD1; 16], "parent.vhd");
    image.block(1, 159, &[0x80, 0x01, 0xFF], b"child");
    image
}

fn vhd_seeds() -> Vec<(&'static str, Vec<SparseFile>)> {
    let mut grandchild = VhdImage::differencing(MIB, 64 << 10, [0xC1; 16], "child.vhd");
    grandchild.footer.id = [0xC2; 16];
    grandchild.block(15, 160, &[0x0F], &[9; 700]);
    let mut payload = vec![0; 1 << 20];
    payload[..100].fill(5);
    let base = fixed(&payload, |footer| footer.id = [0xD1; 16]);
    let mut copy = vhd_dynamic();
    copy.has_footer = false;
    let mut old = vhd_dynamic();
    old.footer_bytes = 511;
    let mut large = VhdImage::dynamic(256 * MIB, 16 * MIB);
    large.full(15, 8 << 10, b"last");
    vec![
        ("vhd_dynamic", vec![vhd_dynamic().build()]),
        ("vhd_fixed", vec![fixed(&[5; 1024], |_| ())]),
        (
            "vhd_chain_of_2",
            vec![vhd_child().build(), vhd_dynamic().build()],
        ),
        (
            "vhd_chain_of_3",
            vec![grandchild.build(), vhd_child().build(), base],
        ),
        ("vhd_copy", vec![copy.build()]),
        ("vhd_511", vec![old.build()]),
        ("vhd_large_blocks", vec![large.build()]),
    ]
}

/// Writes a seed, having seen that it opens, also with all checksums made anew.
fn write(
    name: &str,
    files: &[SparseFile],
    targets: &[&str],
    fix: fn(&mut SparseFile),
) -> std::io::Result<()> {
    let input = encode(files);
    let mut decoded = decode(&input);
    let opened =
        open(decoded.clone()).map_err(|error| std::io::Error::other(format!("{name}: {error}")))?;
    decoded.iter_mut().for_each(fix);
    assert_eq!(
        open(decoded).map(|disk| disk.size()).ok(),
        Some(opened.size()),
        "{name}"
    );
    for target in targets {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("corpus")
            .join(target);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(name), &input)?;
    }
    println!("{name}: {} bytes", input.len());
    Ok(())
}

fn main() -> std::io::Result<()> {
    let mut grandchild = Image::differencing(9 * MIB, MIB, 512, [4; 16]);
    grandchild.block(8, 6, 4 * MIB, b"grown");
    let seeds: Vec<(&str, Vec<SparseFile>)> = vec![
        ("dynamic", vec![dynamic().build()]),
        ("fixed_4096", vec![fixed_4096().build()]),
        ("largest", vec![largest().build()]),
        (
            "chain_of_2",
            vec![differencing().build(), dynamic().build()],
        ),
        (
            "chain_of_3",
            vec![grandchild.build(), differencing().build(), dirty().build()],
        ),
        ("unknown_parts", vec![unknown_parts().build()]),
        ("dirty", vec![dirty().build()]),
        ("many_descriptors", vec![many_descriptors().build()]),
        ("short_tail", vec![short_tail()]),
        ("raw", vec![raw()]),
    ];
    for (name, files) in seeds {
        write(name, &files, &["vhdx_open", "vhdx_read"], fix_checksums)?;
    }
    for (name, files) in vhd_seeds() {
        write(name, &files, &["vhdx_open", "vhd_read"], vhd::fix_checksums)?;
    }
    Ok(())
}
