package initramfs

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"slipway/build/tree"
)

// typeBits are the file type bits of st_mode, as in <linux/stat.h>.
func typeBits(t tree.Type) uint32 {
	switch t {
	case tree.Dir:
		return 0o040000
	case tree.Symlink:
		return 0o120000
	case tree.Char:
		return 0o020000
	case tree.Block:
		return 0o060000
	case tree.Fifo:
		return 0o010000
	}
	return 0o100000
}

// archive writes one newc archive. Inode numbers count up from 1 in the order
// of the paths.
type archive struct {
	w     *bufio.Writer
	n     int64 // bytes written
	inode uint32
	time  uint32
}

func writeArchive(w io.Writer, o *Options) error {
	a := &archive{w: bufio.NewWriterSize(w, 1<<16), time: uint32(o.Time)}
	for path, node := range o.Tree.All() {
		if path == "." {
			continue // the kernel has a root already
		}
		if err := a.add(path, node); err != nil {
			return fmt.Errorf("/%s: %w", path, err)
		}
	}
	return a.close()
}

func (a *archive) add(path string, n *tree.Node) error {
	if len(n.Xattrs) > 0 {
		return fmt.Errorf("extended attributes cannot be stored in an initramfs")
	}
	size := n.Size()
	if n.Type == tree.Symlink {
		size = int64(len(n.Target))
	}
	if size > 1<<32-1 {
		return fmt.Errorf("%d bytes are too many for the format", size)
	}
	a.header(path, typeBits(n.Type)|n.Mode&0o7777, n, uint32(size))
	switch n.Type {
	case tree.Symlink:
		a.write(n.Target)
	case tree.File:
		if err := a.content(n.Blob); err != nil {
			return err
		}
	}
	a.pad()
	return nil
}

func (a *archive) content(b tree.Blob) (err error) {
	if b == nil {
		return nil
	}
	r, err := b.Open()
	if err != nil {
		return err
	}
	n, err := io.Copy(a.w, io.LimitReader(r, b.Size()+1))
	a.n += n
	if closeErr := r.Close(); err == nil {
		err = closeErr
	}
	if err == nil && n != b.Size() {
		err = fmt.Errorf("content is %d bytes, want %d", n, b.Size())
	}
	return err
}

// header writes the 110 bytes of a header, 13 fields of 8 hex digits after the
// magic number, and the name.
func (a *archive) header(path string, mode uint32, n *tree.Node, size uint32) {
	a.inode++
	links := uint32(1)
	if n.Type == tree.Dir {
		links = 2
	}
	a.write(fmt.Sprintf("070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X",
		a.inode, mode, n.UID, n.GID, links, a.time, size,
		0, 0, n.Major, n.Minor, len(path)+1, 0))
	a.write(path + "\x00")
	a.pad()
}

// write never reports an error: bufio keeps it for Flush.
func (a *archive) write(s string) {
	n, _ := a.w.WriteString(s)
	a.n += int64(n)
}

func (a *archive) pad() { a.write("\x00\x00\x00"[:-a.n&3]) }

// close writes the entry that ends an archive.
func (a *archive) close() error {
	const name = "TRAILER!!!"
	a.write("070701" + strings.Repeat("00000000", 4) + "00000001" +
		strings.Repeat("00000000", 6) + fmt.Sprintf("%08X", len(name)+1) + "00000000" + name + "\x00")
	a.pad()
	return a.w.Flush()
}
