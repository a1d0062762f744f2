package powercut

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
)

// Disk is a disk in memory. Only sectors that were written take memory, and
// a clone shares them with its origin. Sync does nothing. It implements
// io.ReaderAt and io.WriterAt.
type Disk struct {
	size int64
	// root is what sectors that were never written hold; nil is zeros.
	root io.ReaderAt
	// layers hold what was written, newest last; only the last one, which
	// is this disk's own, changes.
	layers []map[int64]*sector
	sum    sum
}

// sector is one written sector; it never changes.
type sector struct {
	data []byte
	sum  sum
}

// sum is the share that a sector has in a disk's digest: none for zeros.
type sum [2]uint64

func (s sum) plus(o sum) sum  { return sum{s[0] + o[0], s[1] + o[1]} }
func (s sum) minus(o sum) sum { return sum{s[0] - o[0], s[1] - o[1]} }

func newSector(lba int64, data []byte) *sector {
	s := &sector{data: data}
	if !isZero(data) {
		h := sha256.New()
		_ = binary.Write(h, binary.LittleEndian, lba)
		h.Write(data)
		b := h.Sum(nil)
		s.sum = sum{binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])}
	}
	return s
}

// isZero compares the bytes with one another, which is quick.
func isZero(b []byte) bool { return len(b) == 0 || b[0] == 0 && bytes.Equal(b[1:], b[:len(b)-1]) }

// New makes a disk of zeros. Its size in bytes must be a multiple of Sector.
func New(size int64) *Disk { return Over(nil, size) }

// Over makes a disk that holds what root does until it is written. root is
// only read, must not change, and counts as zeros past its end.
func Over(root io.ReaderAt, size int64) *Disk {
	if size < 0 || size%Sector != 0 {
		panic(fmt.Sprintf("internal error: disk of %d bytes", size))
	}
	return &Disk{size: size, root: root, layers: []map[int64]*sector{{}}}
}

// Size is the size of the disk in bytes.
func (d *Disk) Size() int64 { return d.size }

// maxLayers bounds how many layers a read has to look through.
const maxLayers = 6

// Clone returns a disk of the same content; what is written to one of the
// two does not show on the other. It takes no time to speak of.
func (d *Disk) Clone() *Disk {
	if len(d.own()) > 0 {
		if len(d.layers) >= maxLayers {
			flat := map[int64]*sector{}
			for _, l := range d.layers {
				maps.Copy(flat, l)
			}
			d.layers = []map[int64]*sector{flat}
		}
		d.layers = append(d.layers, map[int64]*sector{})
	}
	c := *d
	c.layers = slices.Clone(d.layers)
	c.layers[len(c.layers)-1] = map[int64]*sector{}
	return &c
}

func (d *Disk) own() map[int64]*sector { return d.layers[len(d.layers)-1] }

// written is the sector if it was written, else nil.
func (d *Disk) written(lba int64) *sector {
	for i := len(d.layers) - 1; i >= 0; i-- {
		if s, ok := d.layers[i][lba]; ok {
			return s
		}
	}
	return nil
}

// readRoot reads below the layers.
func (d *Disk) readRoot(p []byte, off int64) {
	n := 0
	if d.root != nil {
		var err error
		if n, err = d.root.ReadAt(p, off); n < len(p) && !errors.Is(err, io.EOF) {
			panic(fmt.Sprintf("read below the disk at %d: %v", off, err))
		}
	}
	clear(p[n:])
}

// at is the sector as it is, nil if it is known to hold zeros.
func (d *Disk) at(lba int64) *sector {
	if s := d.written(lba); s != nil || d.root == nil {
		return s
	}
	if r, ok := d.root.(*Disk); ok && lba < r.size/Sector {
		return r.at(lba)
	}
	b := make([]byte, Sector)
	d.readRoot(b, lba*Sector)
	return newSector(lba, b)
}

// put stores a sector.
func (d *Disk) put(lba int64, s *sector) {
	if old := d.at(lba); old != nil {
		d.sum = d.sum.minus(old.sum)
	}
	d.sum = d.sum.plus(s.sum)
	d.own()[lba] = s
}

// ReadAt implements io.ReaderAt.
func (d *Disk) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("read at %d", off)
	}
	for n := 0; n < len(p); {
		if off >= d.size {
			return n, io.EOF
		}
		in := off % Sector
		c := min(len(p)-n, int(Sector-in))
		if s := d.written(off / Sector); s != nil {
			copy(p[n:n+c], s.data[in:])
		} else {
			// What is below is read in one go up to the next written sector.
			for n+c < len(p) && off+int64(c) < d.size && d.written((off+int64(c))/Sector) == nil {
				c = min(c+Sector, len(p)-n)
			}
			d.readRoot(p[n:n+c], off)
		}
		n, off = n+c, off+int64(c)
	}
	return len(p), nil
}

// WriteAt implements io.WriterAt. A write that does not fit writes nothing.
func (d *Disk) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off > d.size || int64(len(p)) > d.size-off {
		return 0, fmt.Errorf("write of %d bytes at %d: disk is %d bytes", len(p), off, d.size)
	}
	for _, f := range fragments(bytes.Clone(p), off) {
		d.apply(f)
	}
	return len(p), nil
}

// Sync does nothing; Recorder has one that counts.
func (d *Disk) Sync() error { return nil }

// Zero fills n sectors from lba on with zeros.
func (d *Disk) Zero(lba, n int64) {
	for i := lba; i < lba+n; i++ {
		d.put(i, newSector(i, make([]byte, Sector)))
	}
}

// Digest stands for the content: two disks of one size that are both from New
// or over the same root have equal digests if and only if they hold the same.
func (d *Disk) Digest() [16]byte {
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:], d.sum[0])
	binary.LittleEndian.PutUint64(b[8:], d.sum[1])
	return b
}

// Written calls visit with the content of all sectors that were written, in
// their order, for example to put the disk into a file.
func (d *Disk) Written(visit func(offset int64, data []byte) error) error {
	all := map[int64]*sector{}
	for _, l := range d.layers {
		maps.Copy(all, l)
	}
	for _, lba := range slices.Sorted(maps.Keys(all)) {
		if err := visit(lba*Sector, all[lba].data); err != nil {
			return err
		}
	}
	return nil
}

// fragment is the part of a write that lies in one sector.
type fragment struct {
	lba int64
	// in is where the part starts inside the sector.
	in   int
	data []byte
	// whole is set if the part is the whole sector.
	whole *sector
}

// fragments takes a write apart. The data is kept, not copied.
func fragments(p []byte, off int64) []fragment {
	var list []fragment
	for len(p) > 0 {
		f := fragment{lba: off / Sector, in: int(off % Sector)}
		n := min(len(p), Sector-f.in)
		f.data = p[:n:n]
		if n == Sector {
			f.whole = newSector(f.lba, f.data)
		}
		list = append(list, f)
		p, off = p[n:], off+int64(n)
	}
	return list
}

// apply writes the part of a write.
func (d *Disk) apply(f fragment) {
	if f.whole != nil {
		d.put(f.lba, f.whole)
		return
	}
	b := make([]byte, Sector)
	if s := d.at(f.lba); s != nil {
		copy(b, s.data)
	}
	copy(b[f.in:], f.data)
	d.put(f.lba, newSector(f.lba, b))
}
