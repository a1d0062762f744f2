package fat

import (
	"encoding/binary"
	"fmt"
	"io"
	"strings"

	"slipway/build/tree"
)

// Options says how a file system is written.
type Options struct {
	Label      string // at most 11 bytes of upper case ASCII; "NO NAME" if not set
	Serial     uint32 // the volume's number, shown as XXXX-XXXX
	Time       int64  // of every entry, seconds since 1970; FAT can hold 1980 to 2107
	SectorSize int64  // bytes: 512 if not set, or 1024, 2048 or 4096
}

// Write writes a FAT32 file system of size bytes, a multiple of the sector
// size, with the tree's content to w. Bytes that are zero are not written: w
// must be as good as all zero before.
//
// A size too small or too large for FAT32 is an error that says so, and one
// too small for the content says by how much. A file whose content does not
// have its blob's size is an error that names it.
func Write(w io.WriterAt, size int64, t *tree.Tree, opts *Options) error {
	v, err := plan(size, t, opts)
	if err != nil {
		return fmt.Errorf("fat: %w", err)
	}
	if err := v.write(w); err != nil {
		return fmt.Errorf("fat: %w", err)
	}
	return nil
}

func (v *volume) write(w io.WriterAt) error {
	buf := make([]byte, 1<<20)
	for _, e := range v.entries {
		if e.clusters == 0 {
			continue
		}
		if e.node.Type == tree.Dir {
			if _, err := w.WriteAt(v.encodeDir(e), v.offset(e.first)); err != nil {
				return err
			}
			continue
		}
		if err := copyFile(w, v.offset(e.first), e, buf); err != nil {
			return err
		}
	}
	fat := v.encodeFAT()
	for n := range int64(fatCopies) {
		if _, err := w.WriteAt(fat, (v.reserved+n*v.fat)*v.sector); err != nil {
			return err
		}
	}
	head := append(v.bootSector(), v.infoSector()...)
	for _, at := range []int64{backupSector, 0} {
		if _, err := w.WriteAt(head, at*v.sector); err != nil {
			return err
		}
	}
	return nil
}

// bootSector holds the parameters. Its program asks the firmware for the next
// boot device.
func (v *volume) bootSector() []byte {
	le, b := binary.LittleEndian, make([]byte, v.sector)
	copy(b, "\xEB\x58\x90MSWIN4.1") // jump over the parameters; the name all readers take
	le.PutUint16(b[11:], uint16(v.sector))
	b[13] = byte(v.perCluster)
	le.PutUint16(b[14:], uint16(v.reserved))
	b[16], b[21] = fatCopies, media
	le.PutUint16(b[24:], 63)  // sectors per track
	le.PutUint16(b[26:], 255) // heads
	le.PutUint32(b[32:], uint32(v.sectors))
	le.PutUint32(b[36:], uint32(v.fat))
	le.PutUint32(b[44:], rootCluster)
	le.PutUint16(b[48:], infoSector)
	le.PutUint16(b[50:], backupSector)
	b[64], b[66] = 0x80, 0x29 // drive number; label, serial and type follow
	le.PutUint32(b[67:], v.opts.Serial)
	copy(b[71:82], v.label[:])
	copy(b[82:90], "FAT32   ")
	copy(b[90:], "\xCD\x18\xF4\xEB\xFD") // int 0x18; hlt; jump back to hlt
	b[510], b[511] = 0x55, 0xAA
	return b
}

func (v *volume) infoSector() []byte {
	le, b := binary.LittleEndian, make([]byte, v.sector)
	copy(b, "RRaA")
	copy(b[484:], "rrAa")
	le.PutUint32(b[488:], uint32(v.clusters-int64(v.next-rootCluster)))
	le.PutUint32(b[492:], v.next)
	b[510], b[511] = 0x55, 0xAA
	return b
}

// encodeFAT gives the used part of the FAT.
func (v *volume) encodeFAT() []byte {
	fat := make([]byte, int64(v.next)*4)
	put := func(cluster, value uint32) { binary.LittleEndian.PutUint32(fat[cluster*4:], value) }
	put(0, entryMask&^0xFF|media)
	put(1, endOfChain)
	for _, e := range v.entries {
		for k := range e.clusters {
			put(e.first+k, e.first+k+1)
		}
		if e.clusters > 0 {
			put(e.first+e.clusters-1, endOfChain)
		}
	}
	return fat
}

func (v *volume) encodeDir(e *entry) []byte {
	dir := make([]byte, 0, e.size)
	if e.parent == nil {
		if v.opts.Label != "" {
			dir = v.appendEntry(dir, v.label, attrLabel, &entry{date: v.date, clock: v.clock})
		}
	} else {
		up := *e.parent
		if e.parent.parent == nil {
			up.first = 0 // the root is written as 0 here
		}
		dir = v.appendEntry(dir, packShort(".", ""), attrDir, e)
		dir = v.appendEntry(dir, packShort("..", ""), attrDir, &up)
	}
	for _, c := range e.children {
		dir = append(dir, longEntries(c)...)
		attr := byte(attrArchive)
		if c.node.Type == tree.Dir {
			attr = attrDir
		}
		dir = v.appendEntry(dir, c.short, attr, c)
	}
	return dir
}

func (v *volume) appendEntry(dir []byte, short [11]byte, attr byte, e *entry) []byte {
	le, b := binary.LittleEndian, make([]byte, entrySize)
	copy(b, short[:])
	b[11] = attr
	le.PutUint16(b[14:], e.clock) // made
	le.PutUint16(b[16:], e.date)
	le.PutUint16(b[18:], e.date) // used
	le.PutUint16(b[20:], uint16(e.first>>16))
	le.PutUint16(b[22:], e.clock) // changed
	le.PutUint16(b[24:], e.date)
	le.PutUint16(b[26:], uint16(e.first))
	if attr&(attrDir|attrLabel) == 0 {
		le.PutUint32(b[28:], uint32(e.size))
	}
	return append(dir, b...)
}

func packLabel(label string) (packed [11]byte, err error) {
	if label == "" {
		label = "NO NAME"
	}
	for _, r := range label {
		if r < ' ' || r > '~' || r >= 'a' && r <= 'z' || strings.ContainsRune("\"*+,./:;<=>?[\\]|", r) {
			return packed, fmt.Errorf("label %q holds %q, which FAT forbids", label, r)
		}
	}
	if len(label) > 11 || label[0] == ' ' {
		return packed, fmt.Errorf("label %q is not 1 to 11 characters that start with no space", label)
	}
	copy(packed[:], "           ")
	copy(packed[:], label)
	return packed, nil
}

// copyFile copies a file's content to the offset.
func copyFile(w io.WriterAt, at int64, e *entry, buf []byte) error {
	r, err := e.node.Blob.Open()
	if err != nil {
		return fmt.Errorf("file /%s: %w", e.path, err)
	}
	defer r.Close()
	for left := e.size; left > 0; {
		n, err := io.ReadFull(r, buf[:min(left, int64(len(buf)))])
		left -= int64(n)
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return fmt.Errorf("file /%s: content is %d bytes, should be %d", e.path, e.size-left, e.size)
		} else if err != nil {
			return fmt.Errorf("file /%s: %w", e.path, err)
		}
		if _, err := w.WriteAt(buf[:n], at); err != nil {
			return err
		}
		at += int64(n)
	}
	var one [1]byte
	switch n, err := io.ReadFull(r, one[:]); {
	case n > 0:
		return fmt.Errorf("file /%s: content is longer than its %d bytes", e.path, e.size)
	case err != io.EOF:
		return fmt.Errorf("file /%s: %w", e.path, err)
	}
	return nil
}
