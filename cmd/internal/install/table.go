package install

import (
	"errors"
	"fmt"
	"maps"
	"unsafe"

	"golang.org/x/sys/unix"

	"slipway/cmd/internal/slots"
	"slipway/partitions"
	"slipway/signing/footer"
)

// ErrNotBarred says that the slot has been changed since the checkpoint was
// made: start from the beginning.
var ErrNotBarred = errors.New("the slot was changed by somebody else")

// Bar takes the slot out of those that can be started and wipes its footer, in
// this order. Another slot has to be startable.
func (s *Slot) Bar() error {
	err := s.change(func(d *slots.Drive, p partitions.Partition) (map[int]partitions.Attributes, error) {
		return map[int]partitions.Attributes{p.Number: barred(p.Attributes)}, nil
	})
	if err != nil {
		return err
	}
	if _, err := s.target.WriteAt(make([]byte, footer.Size), s.size-footer.Size); err != nil {
		return err
	}
	return s.target.Sync()
}

func barred(a partitions.Attributes) partitions.Attributes {
	return a.WithPriority(0).WithTries(0).WithSuccessful(false)
}

// stillBarred says whether the slot is as an interrupted Install left it.
func (s *Slot) stillBarred() error {
	if s.part.Attributes != barred(s.part.Attributes) {
		return ErrNotBarred
	}
	return nil
}

// allow gives the slot its tries and puts it before all others.
func (s *Slot) allow(tries int) error {
	return s.change(func(d *slots.Drive, p partitions.Partition) (map[int]partitions.Attributes, error) {
		if p.Attributes != barred(p.Attributes) {
			return nil, ErrNotBarred
		}
		changes, err := partitions.Prioritize(d.Table.Slots(), partitions.Ranking{First: p.Number})
		if err != nil {
			return nil, err
		}
		a, ok := changes[p.Number]
		if !ok {
			a = p.Attributes
		}
		changes[p.Number] = a.WithTries(tries).WithSuccessful(false)
		return changes, nil
	})
}

// change makes one change to the table as it is now, if the slot is still
// where it was and the machine still runs from another one.
func (s *Slot) change(make func(*slots.Drive, partitions.Partition) (map[int]partitions.Attributes, error)) (err error) {
	d, err := s.machine.Open(s.boot, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	running, err := d.Running(s.boot)
	if err != nil {
		return err
	}
	p, ok := d.Table.Partition(s.part.Number)
	if !ok || p.Type != s.part.Type || p.Start != s.part.Start || p.Size != s.part.Size || p.Number == running.Number {
		return fmt.Errorf("disk %s: partition %d is not slot %s any more", d.Path(), s.part.Number, s.part.Label)
	}
	changes, err := make(d, p)
	if err != nil {
		return err
	}
	maps.DeleteFunc(changes, func(n int, a partitions.Attributes) bool {
		q, ok := d.Table.Partition(n)
		return ok && q.Attributes == a
	})
	if len(changes) == 0 {
		return nil
	}
	return partitions.Update(d, d.Table, partitions.Change{Attributes: changes})
}

// blkZeroOut is the ioctl BLKZEROOUT (linux/fs.h): offset and size in bytes.
func blkZeroOut(fd int, span *[2]uint64) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.BLKZEROOUT, uintptr(unsafe.Pointer(span))); errno != 0 {
		return errno
	}
	return nil
}
