"""Decoding against Pillow's own ``exif_transpose`` and ``convert``, and refusal of what is broken."""

from __future__ import annotations

import io
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
from PIL import Image, ImageOps

from pipelines.decode.decode import MAX_PIXELS, UndecodableImageError, decode
from pipelines.decode.header import image_size, image_size_of_file, jpeg_end, jpeg_header, open_with_pillow
from pipelines.decode.png import png_header
from tests.helpers.encoded import encoded

HEIGHT, WIDTH = 37, 53


def photo(height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Smooth colors with some texture, so that a JPEG of it is neither trivial nor noise."""
    y, x = np.mgrid[:height, :width]
    colors = np.stack([x * 255 / width, y * 255 / height, 128 + 100 * np.sin(x / 5 + y / 3)], axis=-1)
    noise = np.random.default_rng(0).normal(0, 6, colors.shape)
    return np.clip(colors + noise, 0, 255).astype(np.uint8)


def jpeg(pixels: np.ndarray | None = None) -> bytes:
    return bytes(simplejpeg.encode_jpeg(photo() if pixels is None else pixels, quality=90))


def exif(orientation: int, byte_order: str = ">") -> bytes:
    """An EXIF block with two entries, written from the TIFF 6.0 specification."""
    head = b"MM\0*" if byte_order == ">" else b"II*\0"
    entry = struct.pack(byte_order + "HHI", 0x0112, 3, 1) + struct.pack(byte_order + "HH", orientation, 0)
    other = struct.pack(byte_order + "HHII", 0x0100, 4, 1, WIDTH)
    return b"Exif\0\0" + head + struct.pack(byte_order + "IH", 8, 2) + other + entry + bytes(4)


def with_segment(data: bytes, marker: int, content: bytes) -> bytes:
    """A JPEG with one more segment, directly after its start."""
    return data[:2] + struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content + data[2:]


def chunk(kind: bytes, content: bytes, checksum: int | None = None) -> bytes:
    """A chunk of a PNG."""
    check = zlib.crc32(kind + content) if checksum is None else checksum
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)


def png(width: int, height: int, depth: int, color_type: int, rows: bytes) -> bytes:
    size = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0)
    chunks = chunk(b"IHDR", size), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")
    return b"".join([b"\x89PNG\r\n\x1a\n", *chunks])


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_rows": 1}]
)
def test_a_jpeg_has_the_pixels_that_pillow_gives(options: dict[str, Any]) -> None:
    data = encoded(Image.fromarray(photo()), quality=90, **options)
    pixels = decode(data)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    np.testing.assert_array_equal(pixels, np.asarray(Image.open(io.BytesIO(data))))
    assert image_size(data) == (HEIGHT, WIDTH)


@pytest.mark.parametrize("byte_order", [">", "<"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_rotated_jpeg_is_set_upright(orientation: int, byte_order: str) -> None:
    data = with_segment(jpeg(), 0xE1, exif(orientation, byte_order))
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    pixels = decode(data)
    np.testing.assert_array_equal(pixels, expected)
    assert pixels.flags.c_contiguous
    assert (
        image_size(data) == expected.shape[:2] == ((WIDTH, HEIGHT) if orientation >= 5 else (HEIGHT, WIDTH))
    )


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("kind", "mode", "options"),
    [("PNG", "RGB", {}), ("WEBP", "RGB", {"lossless": True}), ("JPEG", "CMYK", {})],
)
def test_every_format_and_reader_obeys_the_orientation(
    orientation: int, kind: str, mode: str, options: dict[str, Any]
) -> None:
    data = encoded(Image.fromarray(photo()).convert(mode), kind, exif=exif(orientation), **options)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    np.testing.assert_array_equal(decode(data), expected)
    assert image_size(data) == expected.shape[:2]


@pytest.mark.parametrize(
    "broken",
    [b"", b"MM", b"XX\0*\0\0\0\x08", b"MM\0*\xff\xff\xff\xff", exif(0)[6:], exif(9)[6:], exif(6)[6:-10]],
)
def test_a_broken_exif_block_is_ignored(broken: bytes) -> None:
    data = with_segment(jpeg(), 0xE1, b"Exif\0\0" + broken)
    np.testing.assert_array_equal(decode(data), decode(jpeg()))


def test_a_thumbnail_in_the_header_is_not_taken_for_the_image(tmp_path: Path) -> None:
    thumbnail = exif(6) + jpeg(photo(16, 24)) + bytes(40_000)  # longer than what is read of a file at first
    data = with_segment(with_segment(jpeg(), 0xE1, thumbnail), 0xE0, bytes(60_000))
    file = tmp_path / "photo.jpg"
    file.write_bytes(data)
    assert image_size(data) == image_size_of_file(file) == (WIDTH, HEIGHT)
    assert decode(data).shape == (WIDTH, HEIGHT, 3)


def test_a_gray_jpeg_becomes_rgb() -> None:
    data = encoded(Image.fromarray(photo()).convert("L"), "JPEG", quality=90)
    gray = np.asarray(Image.open(io.BytesIO(data)))
    np.testing.assert_array_equal(decode(data), np.stack([gray] * 3, axis=-1))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP"])
def test_lossless_formats_keep_every_pixel(kind: str, tmp_path: Path) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(Image.fromarray(photo()), kind, **options)
    np.testing.assert_array_equal(decode(data), photo())
    file = tmp_path / "named.jpg"  # the content counts, not the name
    file.write_bytes(data)
    assert image_size_of_file(file) == (HEIGHT, WIDTH)


def test_a_rotated_webp_larger_than_the_first_read_has_its_upright_size(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    file = tmp_path / "photo.webp"  # its EXIF block stands at the end of the file
    file.write_bytes(encoded(Image.fromarray(noise), "WEBP", lossless=True, exif=exif(6)))
    assert file.stat().st_size > 20_000
    assert image_size_of_file(file) == (120, 90)


def test_sixteen_bit_gray_is_scaled_not_clipped() -> None:
    gray = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    expected = np.floor(gray / 65535 * 255 + 0.5)
    np.testing.assert_array_equal(
        decode(encoded(Image.fromarray(gray), "PNG")), np.stack([expected] * 3, axis=-1)
    )


def test_sixteen_bit_color_is_scaled_not_clipped() -> None:
    rgb = np.random.default_rng(0).integers(0, 65536, (HEIGHT, WIDTH, 3)).astype(">u2")
    data = png(WIDTH, HEIGHT, 16, 2, b"".join(b"\0" + row.tobytes() for row in rgb))
    assert np.abs(decode(data) - rgb / 65535 * 255).max() <= 1  # libpng-like readers take the upper byte


def test_palettes_and_bits_become_rgb() -> None:
    colors = np.random.default_rng(0).integers(0, 256, (256, 3), dtype=np.uint8)
    numbers = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8)
    palette = Image.fromarray(numbers)
    palette.putpalette(colors.tobytes())
    np.testing.assert_array_equal(decode(encoded(palette, "PNG")), colors[numbers])
    transparent = encoded(palette, "PNG", transparency=bytes(range(256)))
    np.testing.assert_array_equal(decode(transparent), colors[numbers])
    bits = np.packbits(numbers > 127, axis=1)
    data = png(WIDTH, HEIGHT, 1, 0, b"".join(b"\0" + row.tobytes() for row in bits))
    np.testing.assert_array_equal(decode(data), np.repeat((numbers > 127)[..., None] * 255, 3, axis=-1))


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_alpha_is_dropped(kind: str) -> None:
    alpha = np.random.default_rng(0).integers(1, 256, (HEIGHT, WIDTH, 1), dtype=np.uint8)
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    data = encoded(Image.fromarray(np.concatenate([photo(), alpha], axis=-1)), kind, **options)
    np.testing.assert_array_equal(decode(data), photo())


def test_pixels_pass_through() -> None:
    pixels = photo()
    assert decode(pixels) is pixels


def test_a_buffer_is_used_where_it_is_large_enough() -> None:
    buffer = np.zeros(HEIGHT * WIDTH * 3 + 7, np.uint8)
    pixels = decode(memoryview(jpeg()), buffer)
    assert np.shares_memory(pixels, buffer)
    np.testing.assert_array_equal(pixels, decode(jpeg()))
    np.testing.assert_array_equal(decode(jpeg(), buffer[:100]), decode(jpeg()))
    rotated = decode(with_segment(jpeg(), 0xE1, exif(6)), buffer)
    np.testing.assert_array_equal(rotated, np.rot90(decode(jpeg()), -1))
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(photo()), "PNG"), buffer), photo())


@pytest.mark.parametrize("progressive", [False, True])
def test_a_truncated_jpeg_is_refused_wherever_it_ends(progressive: bool) -> None:
    data = encoded(Image.fromarray(photo()), quality=90, progressive=progressive)
    for length in range(0, len(data) - 1, 7):
        with pytest.raises(UndecodableImageError):
            decode(data[:length])
    with pytest.raises(UndecodableImageError, match=r"(?i)premature end"):
        decode(data[:-1])


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP"])
def test_other_truncated_files_are_refused(kind: str) -> None:
    data = encoded(Image.fromarray(photo()), kind)
    for length in np.linspace(0, len(data) * 0.9, 20).astype(int):
        with pytest.raises(UndecodableImageError):
            decode(data[:length])


def test_lost_pixels_in_a_jpeg_are_refused() -> None:
    data = jpeg()
    middle = len(data) * 2 // 3
    for broken in (
        data[:middle] + b"\xff\xd9" + data[middle + 2 :],  # ends early
        data[: middle - 500] + data[middle:],  # a piece is missing
        data[:middle] + data[middle - 500 :],  # a piece comes twice: pixel data is left over
    ):
        with pytest.raises(UndecodableImageError):
            decode(broken)


def test_a_lost_restart_marker_is_refused() -> None:
    data = encoded(Image.fromarray(photo()), restart_marker_rows=1)
    marker = data.index(b"\xff\xd1")
    with pytest.raises(UndecodableImageError):
        decode(data[:marker] + data[marker + 2 :])


def test_stray_bytes_that_leave_the_pixels_whole_are_forgiven() -> None:
    data = jpeg()
    stray = data[:-2] + bytes(5) + data[-2:]
    np.testing.assert_array_equal(decode(stray), decode(data))
    np.testing.assert_array_equal(decode(data + b"appended"), decode(data))
    between = data[:2] + b"\xff\xfe\x00\x05abc" + b"stray" + data[2:]
    np.testing.assert_array_equal(decode(between), decode(data))
    assert image_size(between) == (HEIGHT, WIDTH)
    with pytest.raises(UndecodableImageError):  # but not together with a lost end
        decode(between[: len(between) // 2])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xd8",
        b"\xff\xd8\xff",
        b"\xff\xd8\xff\xd9",
        b"\xff\xd8" + b"\xff" * 100,
        b"no image" * 100,
        bytes(1000),
        encoded(Image.fromarray(photo()), "GIF"),
        b"\x89PNG\r\n\x1a\n",
        b"RIFF\0\0\0\0WEBPVP8 ",
        b"BM" + bytes(60),
    ],
)
def test_what_is_no_image_is_refused_with_a_reason(data: bytes, tmp_path: Path) -> None:
    file = tmp_path / "file.jpg"
    file.write_bytes(data)
    for attempt in (lambda: decode(data), lambda: image_size(data), lambda: image_size_of_file(file)):
        with pytest.raises(UndecodableImageError, match=r"\w+"):
            attempt()


def test_decompression_bombs_are_refused_by_their_header() -> None:
    data = jpeg()
    frame = data.index(b"\xff\xc0")
    bomb = data[: frame + 5] + struct.pack(">HH", 65000, 65000) + data[frame + 9 :]
    with pytest.raises(UndecodableImageError, match="65000 x 65000 pixels"):
        decode(bomb)
    with pytest.raises(UndecodableImageError, match="pixels"):
        decode(png(65000, 65000, 8, 2, bytes(100)))
    assert 65000 * 65000 > MAX_PIXELS >= 8192 * 8192


def test_the_limit_of_pixels_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.decode.decode.MAX_PIXELS", HEIGHT * WIDTH)
    files = [jpeg(), encoded(Image.fromarray(photo()), "PNG")]
    for data in files:
        decode(data)
    monkeypatch.setattr("pipelines.decode.decode.MAX_PIXELS", HEIGHT * WIDTH - 1)
    for data in files:
        with pytest.raises(UndecodableImageError, match="53 x 37 pixels"):
            decode(data)


@pytest.mark.parametrize(("first", "second"), [(6, 1), (1, 6), (3, 8)])
def test_of_two_exif_segments_the_first_counts(first: int, second: int, tmp_path: Path) -> None:
    data = with_segment(with_segment(jpeg(), 0xE1, exif(second)), 0xE1, exif(first))
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))  # Pillow's reading
    np.testing.assert_array_equal(decode(data), expected)
    assert image_size(data) == expected.shape[:2]


def test_exif_that_goes_on_in_a_second_segment_counts() -> None:
    long = exif(6) + bytes(65000 - len(exif(6)))
    data = with_segment(with_segment(jpeg(), 0xE1, b"Exif\0\0" + bytes(20000)), 0xE1, long)
    assert decode(data).shape == (WIDTH, HEIGHT, 3)
    assert image_size(data) == (WIDTH, HEIGHT)


@pytest.mark.parametrize(
    "behind", [b"", b"\xff\xd9", bytes(10), jpeg(), b"\xff\xd9" + bytes(7) + b"ab\xff\xd9"]
)
def test_zeros_before_the_end_are_forgiven_whatever_follows_the_end(behind: bytes) -> None:
    data = jpeg()
    np.testing.assert_array_equal(decode(data[:-2] + bytes(5) + data[-2:] + behind), decode(data))


@pytest.mark.parametrize("progressive", [False, True])
def test_the_end_of_the_first_image_is_found(progressive: bool) -> None:
    thumbnail = b"Exif\0\0" + jpeg(photo(8, 8))  # an end-of-image marker within a segment
    plain = encoded(Image.fromarray(photo()), progressive=progressive)
    data = with_segment(plain, 0xE1, thumbnail)
    assert jpeg_end(data + jpeg()) == len(data) - 2
    assert jpeg_end(data[:-2]) == -1


def png_with(*more: tuple[bytes, bytes], before: bool = True, checksum: int | None = None) -> bytes:
    """A PNG of ``photo()`` with more chunks directly before its pixels or before its end."""
    data = encoded(Image.fromarray(photo()), "PNG")
    place = data.index(b"IDAT" if before else b"IEND") - 4
    extra = b"".join(chunk(kind, content, checksum) for kind, content in more)
    return data[:place] + extra + data[place:]


BIG = zlib.compress(bytes(3 << 20))  # 3 MB, unpacked


@pytest.mark.parametrize(
    "data",
    [
        png_with((b"zTXt", b"Comment\0\0" + BIG)),
        png_with((b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + BIG)),
        png_with((b"iCCP", b"profile\0\0" + BIG)),
        png_with(*[(b"tEXt", b"Comment\0" + bytes(60000))] * 70),
        png_with((b"tEXt", b"Comment\0text"), checksum=1),
        png_with((b"pHYs", bytes(9)), checksum=1),
        png_with((b"iCCP", b"profile\0\0" + zlib.compress(b"x")), checksum=1),
        png_with((b"iTXt", b"exif\0\0\0\0\0text")),
        png_with((b"tEXt", b"exif\0text"), before=False),
        png_with((b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))),
    ],
)
def test_a_png_whose_pixels_are_whole_is_read(data: bytes, tmp_path: Path) -> None:
    file = tmp_path / "file.png"
    file.write_bytes(data)
    np.testing.assert_array_equal(decode(data), photo())
    assert image_size(data) == image_size_of_file(file) == (HEIGHT, WIDTH)


@pytest.mark.parametrize("before", [True, False])
def test_the_orientation_of_a_png_counts_wherever_it_stands(before: bool, tmp_path: Path) -> None:
    data = png_with((b"eXIf", exif(6)[6:]), (b"eXIf", exif(1)[6:]), before=before)
    file = tmp_path / "file.png"
    file.write_bytes(data)
    np.testing.assert_array_equal(decode(data), np.rot90(photo(), -1))
    assert image_size(data) == image_size_of_file(file) == (WIDTH, HEIGHT)


@pytest.mark.parametrize(("first", "second"), [(6, 1), (1, 6)])
def test_of_two_exif_chunks_of_a_webp_the_first_counts(first: int, second: int, tmp_path: Path) -> None:
    def riff(kind: bytes, content: bytes) -> bytes:
        return kind + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)

    plain = encoded(Image.fromarray(photo()), "WEBP", lossless=True)
    picture = plain[12:]
    canvas = struct.pack("<I", WIDTH - 1)[:3] + struct.pack("<I", HEIGHT - 1)[:3]
    parts = riff(b"VP8X", b"\x08\0\0\0" + canvas) + picture
    parts += riff(b"EXIF", exif(first)[6:]) + riff(b"EXIF", exif(second)[6:])
    data = b"RIFF" + struct.pack("<I", 4 + len(parts)) + b"WEBP" + parts
    expected = np.rot90(photo(), -1) if first == 6 else photo()
    np.testing.assert_array_equal(decode(data), expected)
    file = tmp_path / "file.webp"
    file.write_bytes(data)
    assert image_size(data) == image_size_of_file(file) == expected.shape[:2]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "I;16"])
def test_strips_make_the_same_pixels(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole, a conversion takes several times the memory of the pixels."""
    image = Image.fromarray(photo())
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    else:
        image = image.convert(mode)
    data = encoded(image, "PNG")
    whole = decode(data)
    monkeypatch.setattr("pipelines.decode.decode._STRIP_PIXELS", 5 * WIDTH)
    np.testing.assert_array_equal(decode(data), whole)


def test_a_header_of_zeros_is_passed_quickly() -> None:
    with pytest.raises(UndecodableImageError, match="ends within its header"):
        jpeg_header(memoryview(b"\xff\xd8\xff\xe0\0\x10JFIF" + bytes(1 << 26)))


def test_a_png_with_a_wrong_checksum_of_its_pixels_is_refused() -> None:
    data = bytearray(encoded(Image.fromarray(photo()), "PNG"))
    data[data.index(b"IDAT") + 40] ^= 1
    with pytest.raises(UndecodableImageError):
        decode(bytes(data))


def test_many_small_chunks_do_not_slow_the_header(tmp_path: Path) -> None:
    file = tmp_path / "file.png"
    file.write_bytes(png_with(*[(b"tEXt", b"a\0b")] * 50_000))
    reads = 0
    whole = file.read_bytes()

    def read(at: int, count: int) -> bytes:
        nonlocal reads
        reads += 1
        return whole[at : at + count]

    assert png_header(read, len(whole)) == (HEIGHT, WIDTH, b"")
    assert reads < 30
    assert image_size_of_file(file) == (HEIGHT, WIDTH)


def test_an_image_below_the_limit_is_no_warning_and_above_it_has_one_reason() -> None:
    """Pillow warns from half the limit on; here warnings are errors."""
    side = 10_000
    assert MAX_PIXELS / 2 < side * side < MAX_PIXELS
    data = png(side, side, 1, 0, bytes(side * (side // 8 + 1)))
    assert image_size(data) == (side, side)
    with open_with_pillow(data) as image:
        assert image.size == (side, side)


def test_threads_decode_at_once() -> None:
    images = [photo(30 + n, 40) for n in range(8)]
    files = [jpeg(image) for image in images] + [encoded(Image.fromarray(image), "PNG") for image in images]
    alone = [decode(data) for data in files]
    with ThreadPoolExecutor(8) as pool:
        for number, pixels in enumerate(pool.map(decode, files * 20)):
            np.testing.assert_array_equal(pixels, alone[number % len(files)])
