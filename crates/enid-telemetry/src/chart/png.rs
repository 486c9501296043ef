//! PNG: RGB, eight bits each, nothing else.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::ZlibEncoder;

/// The file of an image: its rows from the top, three bytes a pixel.
pub(super) fn encode(width: u32, height: u32, pixels: &[u8]) -> Vec<u8> {
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut header = Vec::new();
    header.extend(width.to_be_bytes());
    header.extend(height.to_be_bytes());
    // Depth, RGB, and the only methods that there are, without interlacing.
    header.extend([8, 2, 0, 0, 0]);
    chunk(&mut file, b"IHDR", &header);
    let row = usize::try_from(width).unwrap_or(0) * 3;
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::fast());
    let mut write = |bytes: &[u8]| packed.write_all(bytes);
    for row in pixels.chunks_exact(row.max(1)) {
        // Each row says how it is filtered: not at all. What is drawn has few colours and packs well.
        if write(&[0]).and_then(|()| write(row)).is_err() {
            break;
        }
    }
    // Nothing fails that is written to memory.
    let packed = packed.finish().unwrap_or_default();
    chunk(&mut file, b"IDAT", &packed);
    chunk(&mut file, b"IEND", b"");
    file
}

fn chunk(file: &mut Vec<u8>, kind: &[u8; 4], data: &[u8]) {
    file.extend(u32::try_from(data.len()).unwrap_or(u32::MAX).to_be_bytes());
    let start = file.len();
    file.extend(kind);
    file.extend(data);
    let checked = file.get(start..).unwrap_or_default();
    file.extend(crc32fast::hash(checked).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn pixels_are_in_the_file() {
        let pixels: Vec<u8> = (0..2 * 3 * 3).collect();
        let file = encode(2, 3, &pixels);
        assert_eq!(&file[..16], b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR");
        assert_eq!(&file[16..29], [0, 0, 0, 2, 0, 0, 0, 3, 8, 2, 0, 0, 0]);
        let at = file.windows(4).position(|part| part == b"IDAT").unwrap();
        let mut rows = Vec::new();
        let mut packed = flate2::read::ZlibDecoder::new(&file[at + 4..]);
        packed.read_to_end(&mut rows).unwrap();
        let mut wanted = Vec::new();
        for row in pixels.chunks(6) {
            wanted.push(0);
            wanted.extend(row);
        }
        assert_eq!(rows, wanted);
        assert!(file.ends_with(b"IEND\xae\x42\x60\x82"));
    }
}
