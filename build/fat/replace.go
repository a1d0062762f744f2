package fat

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"slipway/build/tree"
)

// Device is a partition open for reading and writing. Sync returns when
// everything written before is on stable storage. *os.File is a Device.
type Device interface {
	io.ReaderAt
	io.WriterAt
	Sync() error
}

// Replacement is the new content of a file.
type Replacement struct {
	Path    string // as in a tree, "EFI/BOOT/BOOTX64.EFI", in any case
	Content io.ReaderAt
	Size    int64 // bytes
}

// maxFAT bounds the FAT that Replace keeps in memory, in bytes. 64 MiB are 16
// million clusters; an EFI system partition has some hundred thousand.
const maxFAT = 64 << 20

// piece is what a disk writes as a whole, in bytes, whatever its sectors are.
const piece = 512

// Replace gives a file of a FAT32 file system of size bytes another content.
// The power may fail at any moment, and writes between two syncs may arrive in
// any order, torn or not at all: the file is then entirely the old one or
// entirely the new one. The steps, each synced before the next:
//
//  1. the content is written into free clusters
//  2. all FATs get the new chain
//  3. the one sector with the file's directory entry is written
//  4. all FATs lose the old chain
//  5. the count of free clusters is corrected
//
// What an interrupted run left behind (clusters that belong to nothing, FATs
// that differ, a wrong count) is mended on the way, also when the file has the
// wanted content already; then changed is false. Equal bytes and replacements
// give equal bytes. The file keeps its name and times.
//
// The file must exist: if not, the error wraps fs.ErrNotExist. Errors are also:
// no room for the content beside the old one, a directory or chain that is
// damaged anywhere, and a volume whose FATs are not all in use. Nothing is
// written then. The file system must not be mounted.
func Replace(dev Device, size int64, r Replacement) (changed bool, err error) {
	v, err := openVolume(dev, size, r.Path)
	if err == nil {
		changed, err = v.replace(r)
	}
	if err != nil {
		return changed, fmt.Errorf("fat: replace /%s: %w", r.Path, err)
	}
	return changed, nil
}

// live is a file system that is being changed.
type live struct {
	*geometry
	dev   Device
	used  []uint64 // a bit for each cluster that is part of the tree
	table []byte   // the FAT as it shall be, from the first FAT
	file  located
}

// located is a file and the place of its directory entry.
type located struct {
	rawEntry
	off int64 // of the entry on the device
}

// openVolume reads the whole tree, so that it is known which clusters are in
// use, and finds the file.
func openVolume(dev Device, size int64, name string) (*live, error) {
	g, err := readGeometry(dev, size)
	if err != nil {
		return nil, err
	}
	v := &live{geometry: g, dev: dev}
	length := (g.clusters + rootCluster) * 4
	if g.single {
		return nil, fmt.Errorf("boot sector: only one FAT is in use")
	}
	if length > maxFAT {
		return nil, fmt.Errorf("boot sector: %d clusters, at most %d can be handled",
			g.clusters, maxFAT/4-rootCluster)
	}
	name = path.Clean(name)
	var found *located
	o := &opener{
		geometry: g, r: dev, tree: tree.New(), used: make([]uint64, (g.clusters+rootCluster)/64+1),
		visit: func(p string, e rawEntry, off int64) {
			if strings.EqualFold(p, name) {
				found = &located{e, off}
			}
		},
	}
	if err := o.walk(); err != nil {
		return nil, err
	}
	switch {
	case found == nil:
		return nil, fs.ErrNotExist
	case found.dir:
		return nil, fmt.Errorf("is a directory")
	}
	v.used, v.file = o.used, *found
	// The last piece goes on behind the last entry: all of it is kept.
	v.table = make([]byte, (length+piece-1)/piece*piece)
	return v, readFull(dev, v.table, g.reserved*g.sector, g.sectors*g.sector)
}

func (v *live) replace(r Replacement) (changed bool, err error) {
	if r.Size < 0 || r.Size > maxFileSize {
		return false, fmt.Errorf("content of %d bytes, limit %d", r.Size, int64(maxFileSize))
	}
	same, err := v.holds(r)
	if err != nil {
		return false, err
	}
	if !same {
		if err := v.exchange(r); err != nil {
			return false, err
		}
	}
	// The old chain belongs to nothing now, like all that was lost before.
	v.free()
	if err := v.writeFATs(); err != nil {
		return !same, err
	}
	return !same, v.writeInfo()
}

// exchange does what makes the file the new one.
func (v *live) exchange(r Replacement) error {
	chain, err := v.allocate(r.Size)
	if err != nil {
		return err
	}
	if err := v.writeContent(r, chain); err != nil {
		return err
	}
	old, err := v.chainOf(v.file.first)
	if err != nil {
		return err
	}
	v.link(chain)
	if err := v.writeFATs(); err != nil {
		return err
	}
	if err := v.writeEntry(r.Size, chain); err != nil {
		return err
	}
	v.mark(old, false)
	v.mark(chain, true)
	return nil
}

// holds says whether the file has the content already.
func (v *live) holds(r Replacement) (bool, error) {
	if v.file.size != r.Size {
		return false, nil
	}
	chain, err := v.chainOf(v.file.first)
	if err != nil {
		return false, err
	}
	have, want := v.buffer(r), v.buffer(r)
	err = v.runs(chain, func(first uint32, at, length int64) error {
		n := max(0, min(length, r.Size-at))
		if err := readFull(v.dev, have[:n], v.offset(first), v.sectors*v.sector); err != nil {
			return err
		}
		if err := readContent(r, want[:n], at); err != nil {
			return err
		}
		if !bytes.Equal(have[:n], want[:n]) {
			return errDiffers
		}
		return nil
	})
	if err == errDiffers {
		return false, nil
	}
	return err == nil, err
}

// errDiffers ends a comparison.
var errDiffers = errors.New("contents differ")

// maxRun is how much of a file is read or written at once, in bytes; no cluster
// is larger.
const maxRun = 1 << 20

// buffer has room for a run of the content.
func (v *live) buffer(r Replacement) []byte { return make([]byte, min(maxRun, r.Size+v.clusterSize())) }

// runs visits a chain in pieces of neighbours: the first cluster, and where in
// the file the piece is and how long, in bytes.
func (v *live) runs(chain []uint32, visit func(first uint32, at, length int64) error) error {
	most := int(maxRun / v.clusterSize())
	for i := 0; i < len(chain); {
		n := 1
		for n < most && i+n < len(chain) && chain[i+n] == chain[i]+uint32(n) {
			n++
		}
		err := visit(chain[i], int64(i)*v.clusterSize(), int64(n)*v.clusterSize())
		if err != nil {
			return err
		}
		i += n
	}
	return nil
}

// readContent fills b from the content.
func readContent(r Replacement, b []byte, off int64) error {
	if n, err := r.Content.ReadAt(b, off); n < len(b) {
		if err == io.EOF {
			return fmt.Errorf("content is %d bytes, should be %d", off+int64(n), r.Size)
		}
		return fmt.Errorf("read content at %d: %w", off, err)
	}
	return nil
}

// writeContent fills the clusters of the new chain; the end of the last one
// becomes zeros.
func (v *live) writeContent(r Replacement, chain []uint32) error {
	buf := v.buffer(r)
	err := v.runs(chain, func(first uint32, at, length int64) error {
		n := min(length, r.Size-at)
		if err := readContent(r, buf[:n], at); err != nil {
			return err
		}
		clear(buf[n:length])
		_, err := v.dev.WriteAt(buf[:length], v.offset(first))
		return err
	})
	if err != nil {
		return err
	}
	return v.dev.Sync()
}

// writeEntry is the switch: one sector, in which first cluster and size of the
// file change together.
func (v *live) writeEntry(size int64, chain []uint32) error {
	at := v.file.off / piece * piece
	b := make([]byte, piece)
	if err := readFull(v.dev, b, at, v.sectors*v.sector); err != nil {
		return err
	}
	first := uint32(0)
	if len(chain) > 0 {
		first = chain[0]
	}
	le, e := binary.LittleEndian, b[v.file.off-at:][:entrySize]
	le.PutUint16(e[20:], uint16(first>>16))
	le.PutUint16(e[26:], uint16(first))
	le.PutUint32(e[28:], uint32(size))
	if _, err := v.dev.WriteAt(b, at); err != nil {
		return err
	}
	return v.dev.Sync()
}
