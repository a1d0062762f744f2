package patch

import (
	"fmt"
	"io"
	"sync"

	"slipway/signing/payload/patch/zframe"
)

// Applier applies patches, several at a time if they fit into MaxMemory
// together. Its zero value is ready.
type Applier struct {
	mu   sync.Mutex
	done sync.Cond
	used int64 // memory of the patches at work, bytes
}

// Apply is the function [Apply], once there is room for it.
func (a *Applier) Apply(dst io.Writer, newSize int64, old io.ReaderAt, oldSize int64, patch []byte) error {
	need := int64(baseMemory)
	if h, _, err := readHeader(patch); err == nil {
		need = h.memory()
	}
	a.mu.Lock()
	a.done.L = &a.mu
	for a.used > 0 && a.used+need > MaxMemory {
		a.done.Wait()
	}
	a.used += need
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		a.used -= need
		a.mu.Unlock()
		a.done.Broadcast()
	}()
	return Apply(dst, newSize, old, oldSize, patch)
}

// Apply writes newSize bytes to dst, which the patch makes of the oldSize bytes
// of old. Any other number of bytes is an error; what was written up to then is
// of no use. old has to be what the patch was made from, which the caller
// checks: from anything else come other bytes, or an error.
//
// Memory is at most MaxMemory beside the patch, and time in proportion to the
// sizes, whatever the patch says.
func Apply(dst io.Writer, newSize int64, old io.ReaderAt, oldSize int64, patch []byte) error {
	return watch(dst, newSize, old, oldSize, patch, func(int64, int64) {})
}

// Watch applies a patch and keeps nothing, but says every now and then how many
// bytes have been made, and how many of the patch that took.
func Watch(newSize int64, old io.ReaderAt, oldSize int64, patch []byte, each func(made, used int64)) error {
	return watch(io.Discard, newSize, old, oldSize, patch, each)
}

func watch(
	dst io.Writer, newSize int64, old io.ReaderAt, oldSize int64, patch []byte, each func(made, used int64),
) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("patch: %w", err)
		}
	}()
	h, rest, err := readHeader(patch)
	if err != nil {
		return err
	}
	if h.oldSize != oldSize || h.newSize != newSize {
		return fmt.Errorf("leads from %d bytes to %d, want from %d to %d", h.oldSize, h.newSize, oldSize, newSize)
	}
	if h.memory() > MaxMemory {
		return errMemory
	}
	in, err := newInput(rest, &h.sizes)
	if err != nil {
		return err
	}
	defer in.close()
	a := &applying{
		header: h, in: in, old: old, dst: dst, each: each, head: int64(len(patch) - len(rest)),
		plain: plain{in: in, old: newWindow(old, oldSize, h.frames), equal: -1},
		buf:   make([]byte, zframe.MaxBlock),
	}
	return a.run()
}

// applying is one run of Apply.
type applying struct {
	*header
	in    *input
	old   io.ReaderAt
	dst   io.Writer
	made  int64 // bytes written
	each  func(made, used int64)
	head  int64 // bytes of the patch's header
	plain plain
	buf   []byte

	blocks  int   // of all frames made
	content int64 // likewise, bytes
}

func (a *applying) run() error {
	at := int64(0)
	for _, f := range a.frames {
		if err := a.copyPlain(f.at - at); err != nil {
			return err
		}
		if err := a.frame(f); err != nil {
			return err
		}
		at = f.at + f.size
	}
	if err := a.copyPlain(a.newSize - at); err != nil {
		return err
	}
	return a.in.finished()
}

// copyPlain writes data that is in no frame.
func (a *applying) copyPlain(size int64) error {
	for size > 0 {
		b := a.buf[:min(size, lineSize)]
		if err := a.plain.fill(b); err != nil {
			return err
		}
		if err := a.write(b); err != nil {
			return err
		}
		size -= int64(len(b))
	}
	return nil
}

func (a *applying) write(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if _, err := a.dst.Write(b); err != nil {
		return err
	}
	a.made += int64(len(b))
	a.each(a.made, a.head+a.in.used(&a.sizes))
	return nil
}
