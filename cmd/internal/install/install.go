// Package install writes a payload into the slot that a machine does not run
// from, and lets that slot start once it has been verified.
//
// The order is what keeps a machine startable at every moment. Before the first
// byte is written the slot is barred in the partition table and its footer
// wiped; then the payload is applied, from a stream, and read back; then the
// new footer is verified with the keys that the running version has for it;
// then, in one change of the table, the slot gets its tries and the highest
// priority. The running slot must have proven itself before: until then the
// other one is the way back.
//
// The package fetches nothing, keeps no state and decides about no versions
// beyond what payloads and footers say of themselves.
package install

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"slipway/build/verity"
	"slipway/cmd/internal/blockdev"
	"slipway/cmd/internal/slots"
	"slipway/partitions"
	"slipway/signing/footer"
	"slipway/signing/key"
	"slipway/signing/payload"
	"slipway/signing/payload/patch"
)

// ErrOnTrial says that the running version has not proven itself yet.
var ErrOnTrial = errors.New("the running version is on trial: the other slot is the way back until it is proven")

// Slot is the slot to be replaced.
type Slot struct {
	machine slots.Machine
	boot    *slots.Boot
	part    partitions.Partition
	size    int64 // bytes

	target *target
	source *os.File // the running slot
	sizeOf int64    // of source
}

// Open opens the slot that the machine does not run from; of several the one
// that would be started last.
func Open(m slots.Machine, b *slots.Boot) (_ *Slot, err error) {
	d, err := m.Open(b, false)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	running, err := d.Running(b)
	if err != nil {
		return nil, err
	}
	if !running.Attributes.Successful() {
		return nil, ErrOnTrial
	}
	part, ok := other(d.Table.Slots(), running.Number)
	if !ok {
		return nil, fmt.Errorf("disk %s: no slot but the running one", d.Path())
	}
	s := &Slot{machine: m, boot: b, part: part, size: d.Size(part), sizeOf: d.Size(running)}
	if s.source, err = os.Open(d.Node(running.Number)); err != nil {
		return nil, err
	}
	if s.target, err = openTarget(d.Node(part.Number)); err != nil {
		return nil, errors.Join(err, s.source.Close())
	}
	return s, nil
}

// other chooses the slot to replace: the one with the lowest priority, the
// first of equals.
func other(all []partitions.Partition, running int) (best partitions.Partition, ok bool) {
	for _, p := range all {
		if p.Number == running || p.Size == 0 {
			continue
		}
		if !ok || p.Attributes.Priority() < best.Attributes.Priority() {
			best, ok = p, true
		}
	}
	return best, ok
}

// Label names the slot, such as "USR-B".
func (s *Slot) Label() string { return s.part.Label }

// Close closes the slot.
func (s *Slot) Close() error { return errors.Join(s.target.Close(), s.source.Close()) }

// Options say what may be installed, and who is told how it goes.
type Options struct {
	// Host is what the machine runs.
	Host payload.Host
	// PayloadKeys vouch for payloads, ImageKeys for slots.
	PayloadKeys []payload.Key
	ImageKeys   []key.Key
	// Tries is how many starts the version has to prove itself, 1 to 15.
	Tries int

	// Accept, if set, is asked before anything is written.
	Accept func(*payload.Metadata) error
	// Resume goes on after a checkpoint of an earlier Install of this slot.
	Resume *payload.Checkpoint
	// Checkpoint and Progress are those of payload.ApplyOptions.
	Checkpoint func(*payload.Checkpoint) error
	Progress   func(done, total int64)
	// Applied, if set, is told when the payload has been applied and verified,
	// and the slot is about to be allowed to start.
	Applied func(*payload.Metadata)
}

// RefusedError says that a payload is not for this machine: nothing was
// written.
type RefusedError struct{ Err error }

// Error is the text of Err.
func (e *RefusedError) Error() string { return e.Err.Error() }

// Unwrap gives Err.
func (e *RefusedError) Unwrap() error { return e.Err }

// Install applies a payload and lets the slot start. Until it returns without
// an error the slot cannot be started. Errors of payload.Apply come through;
// see there for how to resume.
func (s *Slot) Install(ctx context.Context, r io.Reader, o *Options) (*footer.Footer, error) {
	if o.Resume != nil {
		if err := s.stillBarred(); err != nil {
			return nil, err
		}
	}
	m, err := payload.Apply(ctx, r, &payload.ApplyOptions{
		Keys: o.PayloadKeys, Target: s.target, TargetSize: s.size, Source: s.source, SourceSize: s.sizeOf,
		HashTree: hashTree, Patch: new(patch.Applier).Apply, ReadBack: s.target.direct,
		Checkpoint: o.Checkpoint, Resume: o.Resume, Progress: o.Progress,
		Accept: func(m *payload.Metadata) error { return s.accept(m, o) },
	})
	if err != nil {
		return nil, err
	}
	if o.Applied != nil {
		o.Applied(m)
	}
	f, err := s.verifyFooter(m.Manifest, o)
	if err != nil {
		return nil, err
	}
	return f, s.allow(o.Tries)
}

// accept refuses what is not for this machine, and gives up what is in the slot
// for what is.
func (s *Slot) accept(m *payload.Metadata, o *Options) error {
	if err := m.Manifest.Info.Check(&o.Host); err != nil {
		return &RefusedError{err}
	}
	if o.Accept != nil {
		if err := o.Accept(m); err != nil {
			return &RefusedError{err}
		}
	}
	if o.Resume != nil {
		return nil
	}
	if err := s.Bar(); err != nil {
		return fmt.Errorf("%s: %w", s.part.Label, err)
	}
	return nil
}

// verifyFooter reads the footer past the cache and checks what the boot engine
// will check of it, and that it is of the version the payload promised.
func (s *Slot) verifyFooter(m *payload.Manifest, o *Options) (*footer.Footer, error) {
	f, err := footer.Read(s.target.direct, s.size, o.ImageKeys)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.part.Label, err)
	}
	i := &m.Info
	switch {
	case f.Version != i.Version || f.RootHash != i.RootHash:
		err = fmt.Errorf("holds version %s, root hash %.16s; the payload promised %s, %.16s",
			f.Version, f.RootHash, i.Version, i.RootHash)
	case f.Name != i.Name || f.Architecture != i.Architecture || f.Development != i.Development:
		err = fmt.Errorf("is %s for %s; the payload promised %s for %s", f.Name, f.Architecture, i.Name, i.Architecture)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: slot footer: %w", s.part.Label, err)
	}
	return f, nil
}

func hashTree(ctx context.Context, data io.ReaderAt, size int64, salt []byte, tree io.WriterAt) error {
	_, err := verity.Format(ctx, data, size, tree, 0, &verity.Options{Salt: salt, TreeOnly: true})
	return err
}

// target writes through the cache, which lets the disk work while the next
// operations are computed, and reads back past it.
type target struct {
	*os.File
	direct *blockdev.File
}

// openTarget opens a partition. The kernel refuses if it is in use.
func openTarget(node string) (*target, error) {
	f, err := os.OpenFile(node, os.O_RDWR|unix.O_EXCL, 0)
	if errors.Is(err, unix.EBUSY) {
		return nil, fmt.Errorf("%s is in use", node)
	}
	if err != nil {
		return nil, err
	}
	direct, err := blockdev.Open(node, os.O_RDONLY)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &target{f, direct}, nil
}

// Sync implements payload.Target. What is on the disk leaves the cache: it is
// not read again from there, and the services need the room.
func (t *target) Sync() error {
	if err := t.File.Sync(); err != nil {
		return err
	}
	_ = unix.Fadvise(int(t.Fd()), 0, 0, unix.FADV_DONTNEED)
	return nil
}

// ZeroAt has the disk make zeros by itself, if it can.
func (t *target) ZeroAt(offset, size int64) error {
	span := [2]uint64{uint64(offset), uint64(size)}
	if err := blkZeroOut(int(t.Fd()), &span); err == nil {
		return nil
	}
	zeros := make([]byte, min(size, 1<<20))
	for end := offset + size; offset < end; offset += int64(len(zeros)) {
		zeros = zeros[:min(int64(len(zeros)), end-offset)]
		if _, err := t.WriteAt(zeros, offset); err != nil {
			return err
		}
	}
	return nil
}

// Close closes both ways to the partition.
func (t *target) Close() error { return errors.Join(t.File.Close(), t.direct.Close()) }
