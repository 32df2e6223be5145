//! The challenge as a picture: drawn in half-blocks, PNG and SVG; and read back from a picture.

use std::fs::OpenOptions;
use std::io::{Cursor, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use image::{GrayImage, ImageFormat, ImageReader, Limits, Luma};
use qrcode::bits::Bits;
use qrcode::types::QrError;
use qrcode::{Color, EcLevel, QrCode, Version, render::svg};

use crate::error::Failure;

/// Light modules around the code in a terminal. The standard asks for 4; readers need 2, and only so
/// does version 6 fit 24 rows.
const QUIET: usize = 2;
/// Pixels a module in a PNG: large enough for a camera in front of a screen.
const PIXELS: u32 = 8;
/// The widest and highest picture that is read: a camera's, with room to spare.
const SIDE: u32 = 16_384;
const PLAIN: &str = "\x1b[0m";

/// A QR code.
pub(crate) struct Code(QrCode);

impl Code {
    /// Of `text`, in the smallest version that holds it at level L: a screen does not get scratched.
    pub(crate) fn new(text: &str) -> Result<Self, Failure> {
        let alphanumeric = (1..=40).find_map(|version| alphanumeric(text, Version::Normal(version)).ok());
        let code = alphanumeric.map_or_else(|| QrCode::with_error_correction_level(text, EcLevel::L), Ok);
        code.map(Self).map_err(|error| Failure::Usage(format!("The challenge does not fit a QR code: {error}.")))
    }

    /// Columns and rows that [`Self::half_blocks`] takes.
    pub(crate) fn size(&self) -> (usize, usize) {
        let side = self.0.width() + 2 * QUIET;
        (side, side.div_ceil(2))
    }

    /// Rows of half-blocks, two modules a character. `ink` sets black on white, for a terminal.
    pub(crate) fn half_blocks(&self, ink: bool) -> Vec<String> {
        let (columns, rows) = self.size();
        let cells = |y: usize| (0..columns).map(move |x| (self.dark(x, 2 * y), self.dark(x, 2 * y + 1)));
        let plain = |cells: &mut dyn Iterator<Item = Cell>| cells.map(block).collect();
        let row = |y: usize| if ink { inked(cells(y)) } else { plain(&mut cells(y)) };
        (0..rows).map(row).collect()
    }

    /// Writes a PNG that only its owner may read: it holds a secret.
    pub(crate) fn png(&self, path: &Path) -> Result<(), Failure> {
        let picture = self.0.render::<Luma<u8>>().module_dimensions(PIXELS, PIXELS).build();
        let mut bytes = Cursor::new(Vec::new());
        let encoded = picture.write_to(&mut bytes, ImageFormat::Png).map_err(std::io::Error::other);
        save(path, encoded.map(|()| bytes.into_inner()))
    }

    /// Writes an SVG that only its owner may read.
    pub(crate) fn svg(&self, path: &Path) -> Result<(), Failure> {
        let picture = self.0.render::<svg::Color<'_>>().min_dimensions(360, 360).build();
        save(path, Ok(picture.into_bytes()))
    }

    /// Whether the module at (x, y), counted from the corner of the quiet zone, is dark.
    fn dark(&self, x: usize, y: usize) -> bool {
        let inside = QUIET..QUIET + self.0.width();
        inside.contains(&x) && inside.contains(&y) && self.0[(x - QUIET, y - QUIET)] == Color::Dark
    }
}

/// The challenge in a PNG or JPEG.
pub(crate) fn read(bytes: &[u8]) -> Result<String, Failure> {
    let picture = decode(bytes)?;
    let mut inverted = picture.clone();
    image::imageops::invert(&mut inverted);
    let texts: Vec<String> = [picture, inverted].into_iter().flat_map(codes).collect();
    let ours = |text: &&String| text.starts_with("KL:") || text.starts_with("kinlink:");
    match texts.iter().find(ours) {
        Some(text) => Ok(text.clone()),
        None if texts.is_empty() => Err(Failure::Picture("No QR code can be read in that picture.".to_owned())),
        None => Err(Failure::Picture("The QR code in that picture is not one of Kinlink's.".to_owned())),
    }
}

/// Whether `bytes` start like a picture that [`read`] takes.
pub(crate) fn is_picture(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x89PNG") || bytes.starts_with(b"\xff\xd8\xff")
}

/// `text` in one alphanumeric segment. Left to itself the encoder opens numeric segments whose headers cost
/// more than they save, and misses version 6 by a few bits.
fn alphanumeric(text: &str, version: Version) -> Result<QrCode, QrError> {
    // The encoder takes any byte here and would encode others wrongly.
    if !text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'Z') || b" $%*+-./:".contains(&byte)) {
        return Err(QrError::InvalidCharacter);
    }
    let mut bits = Bits::new(version);
    bits.push_alphanumeric_data(text.as_bytes())?;
    bits.push_terminator(EcLevel::L)?;
    QrCode::with_bits(bits, EcLevel::L)
}

/// A character's two modules, top and bottom: whether each is dark.
type Cell = (bool, bool);

/// One row in colours of its own. The lower half is always background, and the upper one too where it can be: the
/// glyphs of many fonts end short of their cell, and the seams between rows made a code that no reader took.
fn inked(cells: impl Iterator<Item = Cell>) -> String {
    let (mut row, mut last) = (String::new(), None);
    for cell in cells {
        if last != Some(cell) {
            row.push_str(colours(cell));
        }
        row.push(if cell.0 == cell.1 { ' ' } else { '▀' });
        last = Some(cell);
    }
    row + PLAIN
}

/// Black and white, whatever the terminal's own colours are: in basic colours, then, where they are known, in those of
/// the 256 that no theme changes. Not a matter of taste, so `NO_COLOR` has no say.
fn colours(cell: Cell) -> &'static str {
    match cell {
        (false, false) => "\x1b[97;107m\x1b[38;5;231;48;5;231m",
        (true, false) => "\x1b[30;107m\x1b[38;5;16;48;5;231m",
        (false, true) => "\x1b[97;40m\x1b[38;5;231;48;5;16m",
        (true, true) => "\x1b[30;40m\x1b[38;5;16;48;5;16m",
    }
}

fn block(cell: Cell) -> char {
    match cell {
        (false, false) => ' ',
        (true, false) => '▀',
        (false, true) => '▄',
        (true, true) => '█',
    }
}

fn decode(bytes: &[u8]) -> Result<GrayImage, Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        Failure::Picture(format!("That is not a picture that can be read (PNG or JPEG): {error}."))
    };
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|error| failed(&error))?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(SIDE);
    limits.max_image_height = Some(SIDE);
    reader.limits(limits);
    let picture = reader.decode().map_err(|error| failed(&error))?.into_luma_alpha8();
    // What is transparent is paper.
    let over_white = |pixel: &image::LumaA<u8>| {
        let [luma, alpha] = pixel.0.map(u16::from);
        u8::try_from((luma * alpha + 255 * (255 - alpha)) / 255).unwrap_or(u8::MAX)
    };
    Ok(GrayImage::from_fn(picture.width(), picture.height(), |x, y| Luma([over_white(picture.get_pixel(x, y))])))
}

fn codes(picture: GrayImage) -> Vec<String> {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    // Within u32: the picture's own size bounds both.
    let luma = |x: usize, y: usize| picture.as_raw()[y * width + x];
    let mut prepared = rqrr::PreparedImage::prepare_from_greyscale(width, height, luma);
    prepared.detect_grids().into_iter().filter_map(|grid| grid.decode().ok()).map(|(_, text)| text).collect()
}

fn save(path: &Path, bytes: std::io::Result<Vec<u8>>) -> Result<(), Failure> {
    let written = bytes.and_then(|bytes| {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        // The mode above is for a new file only.
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
        file.write_all(&bytes)
    });
    written.map_err(|source| Failure::File { path: path.display().to_string(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As long as a challenge may be, in the characters of Base45.
    fn challenge() -> String {
        let text: String = ('0'..='9').chain('A'..='Z').chain("$%*+-./:".chars()).cycle().take(192).collect();
        format!("KL:{text}")
    }

    /// What a screen shows of half-blocks: each character 8 pixels wide and 16 high.
    fn screenshot(rows: &[String], paper: u8) -> Vec<u8> {
        let cells: Vec<Vec<char>> = rows.iter().map(|row| row.chars().collect()).collect();
        let (width, height) = (cells[0].len() * 8 + 40, cells.len() * 16 + 40);
        let pixel = |x: u32, y: u32| {
            let (Some(x), Some(y)) = ((x as usize).checked_sub(20), (y as usize).checked_sub(20)) else {
                return Luma([paper]);
            };
            match cells.get(y / 16).and_then(|row| row.get(x / 8)) {
                None => Luma([paper]),
                Some('█') => Luma([0]),
                Some('▀') if y % 16 < 8 => Luma([0]),
                Some('▄') if y % 16 >= 8 => Luma([0]),
                Some(_) => Luma([255]),
            }
        };
        let picture = GrayImage::from_fn(width as u32, height as u32, pixel);
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn the_longest_challenge_fits_an_80x24_terminal() {
        let code = Code::new(&challenge()).unwrap();
        assert_eq!(code.0.version(), qrcode::Version::Normal(6));
        assert_eq!(code.size(), (45, 23));
        assert_eq!(code.half_blocks(true).len(), 23);
        assert!(code.half_blocks(false).iter().all(|row| row.chars().count() == 45));
    }

    #[test]
    fn half_blocks_read_back_on_dark_and_light_screens() {
        let rows = Code::new(&challenge()).unwrap().half_blocks(false);
        for paper in [0, 255, 40] {
            assert_eq!(read(&screenshot(&rows, paper)).unwrap(), challenge(), "paper {paper}");
        }
    }

    /// Without explicit colours a dark terminal swaps ink and paper; such a picture is read all the same.
    #[test]
    fn swapped_ink_reads_back() {
        let swap = |c: char| match c {
            ' ' => '█',
            '█' => ' ',
            '▀' => '▄',
            _ => '▀',
        };
        let rows: Vec<String> = Code::new(&challenge())
            .unwrap()
            .half_blocks(false)
            .iter()
            .map(|row| row.chars().map(swap).collect())
            .collect();
        assert_eq!(read(&screenshot(&rows, 0)).unwrap(), challenge());
    }

    #[test]
    fn on_a_terminal_each_row_sets_its_colours_and_resets_them() {
        for row in Code::new("KL:AB").unwrap().half_blocks(true) {
            assert!(row.starts_with("\x1b[") && row.ends_with(PLAIN));
        }
    }

    #[test]
    fn on_a_terminal_the_lower_half_is_background() {
        let cells = [(true, true), (true, true), (false, true), (true, false), (false, false)];
        let painted: Vec<_> =
            cells.iter().map(|cell| (colours(*cell), if cell.0 == cell.1 { " " } else { "▀" })).collect();
        let (black, mixed) = (painted[0].0, &painted[2..]);
        let rest: String = mixed.iter().map(|(colours, glyph)| format!("{colours}{glyph}")).collect();
        assert_eq!(inked(cells.into_iter()), format!("{black}  {rest}{PLAIN}"));
        assert!(cells.iter().all(|cell| colours(*cell).contains(if cell.1 { ";48;5;16m" } else { ";48;5;231m" })));
    }

    #[test]
    fn png_reads_back_and_is_private() {
        let path = std::env::temp_dir().join(format!("kinctl-qr-{}.png", std::process::id()));
        std::fs::write(&path, "was readable by all").unwrap();
        Code::new(&challenge()).unwrap().png(&path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        std::fs::remove_file(&path).unwrap();
        assert!(is_picture(&bytes));
        assert_eq!(read(&bytes).unwrap(), challenge());
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn other_pictures_are_refused_with_a_reason() {
        let reason = |bytes: &[u8]| read(bytes).unwrap_err().report().message;
        assert!(reason(b"hello").contains("not a picture"));
        let blank = screenshot(&[" ".repeat(40)], 255);
        assert!(reason(&blank).contains("No QR code"));
        let foreign = screenshot(&Code::new("https://example.org").unwrap().half_blocks(false), 255);
        assert!(reason(&foreign).contains("not one of Kinlink's"));
    }
}
