// Package inspect looks into disk images and slot images without mounting
// them: which partitions there are, what each slot holds and who signed it,
// and the files of a slot. It changes nothing and trusts nothing: a signature
// counts as good only with a key the caller gives.
package inspect

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"slipway/build/erofs"
	"slipway/build/lock"
	"slipway/build/tree"
	"slipway/partitions"
	"slipway/signing/footer"
	"slipway/signing/key"
)

// Kind says what a file is.
type Kind string

// The kinds of file that Open knows.
const (
	Disk Kind = "disk image"
	Slot Kind = "slot image"
)

// LockPath is where a slot keeps the lock it was built from, below /usr.
const LockPath = "share/slipway/packages.lock"

// Image is an opened disk or slot image.
type Image struct {
	Kind  Kind
	Size  int64             // bytes
	Table *partitions.Table // of a disk
	Slots []SlotInfo
}

// SlotInfo is what a slot says of itself.
type SlotInfo struct {
	Label      string // of its partition, "" for a slot image
	Number     int    // of its partition
	Attributes partitions.Attributes
	// Empty says that there is no footer, Err why the footer cannot be read.
	Empty  bool
	Err    error
	Footer *footer.Footer
	// Signatures with what became of them under the caller's keys.
	Signatures []Signature

	data *io.SectionReader
}

// Signature is one signature of a footer.
type Signature struct {
	KeyID     string `json:"key_id"`
	Algorithm string `json:"algorithm"`
	Verdict   string `json:"verdict"` // good, bad, unknown key, not checked
}

// ErrUnknown says that a file is none of the kinds.
var ErrUnknown = errors.New("neither a disk image nor a slot image")

// Open finds out what r is and reads its tables. Keys may be empty; then no
// signature is checked.
func Open(r io.ReaderAt, size int64, keys []key.Key) (*Image, error) {
	if isEROFS(r) {
		s := readSlot(io.NewSectionReader(r, 0, size), keys)
		if s.Empty {
			s.Empty, s.Err = false, errors.New("a file system, but no footer at the end: cut short, or no slot")
		}
		return &Image{Kind: Slot, Size: size, Slots: []SlotInfo{s}}, nil
	}
	table, err := readTable(r, size)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	image := &Image{Kind: Disk, Size: size, Table: table}
	for _, p := range table.Slots() {
		unit := int64(table.SectorSize)
		s := readSlot(io.NewSectionReader(r, p.Start*unit, p.Size*unit), keys)
		s.Label, s.Number, s.Attributes = p.Label, p.Number, p.Attributes
		image.Slots = append(image.Slots, s)
	}
	return image, nil
}

func isEROFS(r io.ReaderAt) bool {
	var magic [4]byte
	_, err := r.ReadAt(magic[:], 1024)
	return err == nil && bytes.Equal(magic[:], []byte{0xe2, 0xe1, 0xf5, 0xe0})
}

// readTable tries both sector sizes.
func readTable(r io.ReaderAt, size int64) (*partitions.Table, error) {
	table, err := partitions.Read(r, size, 512)
	if err == nil {
		return table, nil
	}
	if table, err := partitions.Read(r, size, 4096); err == nil {
		return table, nil
	}
	return nil, err
}

func readSlot(data *io.SectionReader, keys []key.Key) SlotInfo {
	s := SlotInfo{data: data}
	f, signatures, err := footer.Inspect(data, data.Size())
	switch {
	case errors.Is(err, footer.ErrNone):
		s.Empty = true
		return s
	case err != nil:
		s.Err = err
		return s
	}
	s.Footer = f
	for _, sig := range signatures {
		s.Signatures = append(s.Signatures, Signature{
			KeyID: sig.KeyID, Algorithm: sig.Algorithm,
			Verdict: verdict(data, sig.KeyID, keys),
		})
	}
	return s
}

func verdict(data *io.SectionReader, id string, keys []key.Key) string {
	if len(keys) == 0 {
		return "not checked"
	}
	for _, k := range keys {
		if k.ID != id {
			continue
		}
		if _, err := footer.Read(data, data.Size(), []key.Key{k}); err != nil {
			return "bad"
		}
		return "good"
	}
	return "unknown key"
}

// Active is the slot a machine would boot: that of a slot image, or the one
// partitions.Next chooses.
func (i *Image) Active() (*SlotInfo, error) {
	if i.Kind == Slot {
		return &i.Slots[0], nil
	}
	number, ok := partitions.Next(i.Table)
	if !ok {
		return nil, errors.New("disk: no slot is bootable")
	}
	for n := range i.Slots {
		if i.Slots[n].Number == number {
			return &i.Slots[n], nil
		}
	}
	return nil, fmt.Errorf("internal error: partition %d is no slot", number)
}

// Slot finds a slot by the label of its partition.
func (i *Image) Slot(label string) (*SlotInfo, error) {
	for n := range i.Slots {
		if i.Slots[n].Label == label {
			return &i.Slots[n], nil
		}
	}
	return nil, fmt.Errorf("slot %q: not on this disk", label)
}

// Usr reads the slot's file system. Its root is /usr.
func (s *SlotInfo) Usr() (*tree.Tree, error) {
	size := s.data.Size()
	if s.Footer != nil {
		size = s.Footer.FSSize
	} else if s.Empty {
		return nil, fmt.Errorf("slot %s: empty", s.Label)
	}
	return erofs.Open(s.data, size)
}

// Packages reads the lock a slot was built from.
func (s *SlotInfo) Packages() (*lock.Lock, error) {
	usr, err := s.Usr()
	if err != nil {
		return nil, err
	}
	n := usr.Lookup(LockPath)
	if n == nil || n.Blob == nil {
		return nil, fmt.Errorf("slot: no /usr/%s", LockPath)
	}
	r, err := n.Blob.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return lock.Read(r, "/usr/"+LockPath)
}
