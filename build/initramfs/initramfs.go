// Package initramfs writes the file system the kernel starts from: a cpio
// archive of the "newc" kind, compressed with zstd, out of a tree value. It
// also works out which kernel modules belong into it and in which order they
// load (ModuleIndex), and gives the pair of kernel and initramfs its boot id.
//
// Equal trees give equal bytes. The package does not know what the boot engine
// does with the files; Contents holds their agreed names.
//
// Format: Documentation/driver-api/early-userspace/buffer-format.rst of the
// kernel. Several archives may follow each other, compressed or not, each at a
// multiple of four bytes.
package initramfs

import (
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"slipway/build/tree"
)

// window is how far back the compressor refers, in bytes. The kernel allocates
// it while it unpacks.
const window = 8 << 20

// Options says what Write writes.
type Options struct {
	// Tree is the content. Hard links become separate files; extended
	// attributes are an error, the format has no place for them.
	Tree *tree.Tree
	// Time is the modification time of every file, in seconds since 1970.
	Time int64
}

// Write writes the compressed archive, padded with zeros to a multiple of four
// bytes so that another may follow.
func Write(w io.Writer, o *Options) error {
	out := &counter{w: w}
	// The best level takes fourteen times as long to save a fourteenth.
	z, err := zstd.NewWriter(out,
		zstd.WithEncoderLevel(zstd.SpeedDefault),
		zstd.WithWindowSize(window),
		zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderCRC(true))
	if err != nil {
		return fmt.Errorf("initramfs: %w", err)
	}
	if err := writeArchive(z, o); err != nil {
		_ = z.Close() // the first error counts
		return fmt.Errorf("initramfs: %w", err)
	}
	if err := z.Close(); err != nil {
		return fmt.Errorf("initramfs: %w", err)
	}
	if _, err := out.Write(make([]byte, -out.n&3)); err != nil {
		return fmt.Errorf("initramfs: %w", err)
	}
	return nil
}

// counter counts the bytes that went through it.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
