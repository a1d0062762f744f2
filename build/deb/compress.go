package deb

import (
	"bufio"
	"compress/bzip2"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	oldxz "github.com/therootcompany/xz"

	"slipway/build/deb/xz"
)

// maxWindow bounds the window of one decompressor: that of xz -9 and zstd
// --ultra -22. dpkg-deb writes 8 MiB windows.
const maxWindow = 64 << 20

// decompress gives the stream behind the suffix of a member's name.
func decompress(suffix string, r io.Reader) (io.ReadCloser, error) {
	switch suffix {
	case "":
		return io.NopCloser(r), nil
	case ".gz":
		return gzip.NewReader(r)
	case ".xz":
		return XZ(r)
	case ".zst":
		return Zstd(r)
	case ".bz2":
		return io.NopCloser(bzip2.NewReader(r)), nil
	}
	return nil, fmt.Errorf("compression %q is not known", suffix)
}

// XZ decompresses an .xz stream with at most 64 MiB of window. Files with
// filters for machine code, which dpkg-deb does not use, take a slower way.
func XZ(r io.Reader) (io.ReadCloser, error) {
	// The header of the first block, at most 1024 bytes behind the stream's 12,
	// says which filters there are; the slower reader must see it again.
	b := bufio.NewReaderSize(r, 128<<10)
	head, err := b.Peek(2048)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return nil, err
	}
	if !xz.Supported(head) {
		x, err := oldxz.NewReader(b, maxWindow)
		return io.NopCloser(x), err
	}
	x, err := xz.NewReader(b, maxWindow)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(x), nil
}

// Zstd decompresses a .zst stream, on the calling goroutine, with at most
// 64 MiB of window.
func Zstd(r io.Reader) (io.ReadCloser, error) {
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1),
		zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true))
	if err != nil {
		return nil, err
	}
	return z.IOReadCloser(), nil
}
